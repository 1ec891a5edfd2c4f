//! The whole configuration, and how a file becomes one.
//!
//! ```text
//! file ─▶ tree (lines kept) ─▶ at (typed reading, findings) ─▶ sections ─▶ Config, or every error
//! ```
//!
//! `serve` and `check` read through here, and so does the embedded file of a gateway without one. A file
//! without errors yields a [`Config`] and its warnings; one with errors yields all of them and no
//! configuration.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;

use affinity_layer::ModelName;
use http::Uri;
use router_client::Preference;

use super::at::{At, Context};
use super::{
    Admin, ConfigErrors, Finding, ForwardProxies, ForwardProxy, Limits, Listener, Provider, Router,
    Routing, Tracing, admin, limits, listeners, passthrough, preferences, providers, rollout,
    router, routing, tracing, tree, url,
};

/// The largest file that is read, in bytes.
const MAX_FILE_LEN: u64 = 1024 * 1024;

/// The versions of the older system's files.
const VERSIONS: [&str; 6] = ["v0.1", "v0.1.0", "0.1-beta", "v0.2.0", "v0.3.0", "v0.4.0"];

const EMBEDDED: &str = include_str!("../../config/default.yaml");

/// A configuration that was checked: its parts fit together.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the gateway listens; at least one.
    pub listeners: Vec<Listener>,
    /// Who serves the models; at least one, each model once.
    pub providers: Vec<Provider>,
    /// Which models serve which kind of request; every model is declared.
    pub preferences: Vec<Preference>,
    /// Other names for declared models.
    pub aliases: BTreeMap<String, ModelName>,
    /// The entry of the provider that gets what names no model.
    pub passthrough: Option<ModelName>,
    /// How sessions are kept and requests decided.
    pub routing: Routing,
    /// The admin API, if there is one.
    pub admin: Option<Admin>,
    /// What clients and providers may take up.
    pub limits: Limits,
    /// What is traced.
    pub tracing: Tracing,
    /// The proxies that calls of providers and routers go through. The environment names them and no file; see
    /// [`call_through`](Self::call_through).
    pub proxies: ForwardProxies,
    /// Whether each request has a line in the log; the command line says so, and no file.
    pub access_log: bool,
    /// What the file asks for and is not served.
    pub warnings: Vec<Finding>,
}

/// What the configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The providers are going to be called: their keys and addresses must be there.
    Full,
    /// `--upstream`: one address replaces those of all providers, so that their keys and addresses
    /// may be missing. Call [`Config::replace_upstreams`] before use.
    UpstreamOverride,
}

impl Mode {
    /// What has to be there when `upstream`, if it is given, takes the place of the providers.
    #[must_use]
    pub fn with(upstream: Option<&Uri>) -> Self {
        upstream.map_or(Self::Full, |_| Self::UpstreamOverride)
    }
}

impl Config {
    /// Reads and checks a file; variables are those of the process.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file; one error when it cannot be read, is empty, not
    /// UTF-8, or larger than 1 MiB.
    pub fn load(path: &Path, mode: Mode) -> Result<Self, ConfigErrors> {
        let file = path.display().to_string();
        let text = read(path).map_err(|(line, why)| Finding::on_file(&file, line, why))?;
        Self::parse(&text, &file, &|name| std::env::var(name).ok(), mode)
    }

    /// Checks `text`; `file` is how errors call it, and `env` looks variables up.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text.
    pub fn parse(
        text: &str,
        file: &str,
        env: &dyn Fn(&str) -> Option<String>,
        mode: Mode,
    ) -> Result<Self, ConfigErrors> {
        let tree = tree::parse(text, file)?;
        let context = Context {
            file,
            env,
            upstream_override: mode == Mode::UpstreamOverride,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            is_misnamed: false.into(),
        };
        let root = At::root(&context, &tree);
        let mut config = build(&root);
        root.report_unknown_keys();
        let errors = in_order(context.errors.into_inner());
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        config.warnings = in_order(context.warnings.into_inner());
        Ok(config)
    }

    /// The configuration that is used without a file: three models, two routes, the lexical router
    /// and the memory store. It needs no keys: call [`replace_upstreams`](Self::replace_upstreams).
    #[must_use]
    pub fn embedded() -> Self {
        let read = Self::parse(EMBEDDED, "default.yaml", &|_| None, Mode::UpstreamOverride);
        #[expect(clippy::expect_used, reason = "the text is a constant, and a test reads it")]
        read.expect("the embedded configuration is correct")
    }

    /// Moves the first listener to `address` and drops the others.
    pub fn listen_on(&mut self, address: SocketAddr) {
        self.listeners.truncate(1);
        for listener in &mut self.listeners {
            (listener.address, listener.port) = (address.ip(), address.port());
        }
    }

    /// Whether some listener is open: beyond loopback and without client keys.
    pub(crate) fn is_open(&self) -> bool {
        let is_open = |listener: &Listener| {
            listener.client_keys.is_empty() && !listener.address.is_loopback()
        };
        self.listeners.iter().any(is_open)
    }

    /// Whether a call of a provider or of the router would come back to one of the listeners: then
    /// one request would go in circles until no connection is left.
    #[must_use]
    pub fn calls_itself(&self) -> bool {
        let mut called = self.called().flat_map(|(_, base)| {
            let proxy = self.proxies.of(base).map(|proxy| proxy.uri());
            [Some(base), proxy].into_iter().flatten()
        });
        called.any(|base| url::is_own(base, &self.listeners))
    }

    /// What is called, by name, and where.
    fn called(&self) -> impl Iterator<Item = (&str, &Uri)> {
        let router = match &self.routing.router {
            Router::Llm { url, .. } | Router::Plano { url, .. } => Some(("the router", url)),
            Router::Lexical => None,
        };
        let providers = self.providers.iter();
        providers.map(|provider| (provider.model.as_str(), &provider.base_url)).chain(router)
    }

    /// The addresses of the providers and of the router.
    pub(crate) fn bases(&self) -> impl Iterator<Item = &Uri> {
        self.called().map(|(_, base)| base)
    }

    /// Sends the calls of providers and routers through `proxies`. Call it last: it counts where they are.
    ///
    /// # Errors
    ///
    /// Each proxy that is on the way to one of them and cannot be used, by the name of its variable.
    pub fn call_through(&mut self, proxies: ForwardProxies) -> Result<(), Vec<String>> {
        let problems = self.called().filter_map(|(_, base)| proxies.problem(base));
        let problems: BTreeSet<String> = problems.map(str::to_owned).collect();
        if problems.is_empty() {
            self.proxies = proxies;
            return Ok(());
        }
        Err(problems.into_iter().collect())
    }

    /// The proxies on the way, each with the names of what is called through it.
    #[must_use]
    pub fn called_through(&self) -> Vec<(&ForwardProxy, Vec<&str>)> {
        let mut through = Vec::<(&ForwardProxy, Vec<&str>)>::new();
        for (name, base) in self.called() {
            let Some(proxy) = self.proxies.of(base) else { continue };
            match through.iter_mut().find(|(known, _)| std::ptr::eq(*known, &**proxy)) {
                Some((_, names)) => names.push(name),
                None => through.push((proxy, vec![name])),
            }
        }
        through
    }

    /// Sends the calls of every provider to `base`, and with them those to a routing model that is
    /// one of the providers.
    pub fn replace_upstreams(&mut self, base: &Uri) {
        if let Router::Llm { url, .. } = &mut self.routing.router {
            let shared = |provider: &Provider| router::chat_base(&provider.base_url) == *url;
            if self.providers.iter().any(shared) {
                *url = router::chat_base(base);
            }
        }
        for provider in &mut self.providers {
            provider.base_url = base.clone();
        }
        providers::settle_protocols(&mut self.providers);
    }
}

fn read(path: &Path) -> Result<String, (Option<u64>, String)> {
    let cannot = |why: std::io::Error| (None, format!("cannot be read: {why}"));
    let file = File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_dir() {
        return Err((None, "is a directory, not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    let len = file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if u64::try_from(len).is_ok_and(|len| len > MAX_FILE_LEN) {
        return Err((None, format!("is larger than {MAX_FILE_LEN} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let newlines = before.filter(|byte| **byte == b'\n').count();
        (u64::try_from(newlines + 1).ok(), "is not UTF-8".to_owned())
    })
}

pub(super) fn build(root: &At<'_>) -> Config {
    // All versions are read in the same way.
    if let Some(version) = root.get("version") {
        version.one_of(&VERSIONS.map(|version| (version, ())));
    }
    root.not_served(&[
        "agents",
        "endpoints",
        "error_target",
        "filters",
        "mode",
        "model_metrics_sources",
        "prompt_caching",
        "prompt_guards",
        "prompt_targets",
        "ratelimits",
        "state_storage",
        "system_prompt",
    ]);
    let listeners = listeners::read(root);
    let providers = providers::read(root);
    let preferences = preferences::read(root, &providers);
    let mut routing = routing::read(root, &providers);
    if let Some(at) = root.get("routing") {
        let mut keys = listeners.iter().flat_map(|listener| &listener.client_keys);
        let has_tenants = routing.tenant_header.is_some() || keys.any(|key| key.scope.is_some());
        let routes: Vec<_> = preferences.iter().map(|route| route.name.clone()).collect();
        routing.mode = rollout::mode(&at, has_tenants, &routes);
    }
    let config = Config {
        preferences,
        aliases: preferences::aliases(root, &providers),
        passthrough: passthrough::read(root, &providers),
        routing,
        admin: admin::read(root, &listeners),
        limits: limits::read(root),
        tracing: tracing::read(root),
        proxies: ForwardProxies::default(),
        access_log: false,
        warnings: Vec::new(),
        listeners,
        providers,
    };
    warn_of_shared_tenants(root, &config);
    refuse_loops(root, &config.listeners, &config.providers, &config.routing.router);
    config
}

/// A key without a scope leaves the tenant to the header, which its holder can set to any.
fn warn_of_shared_tenants(root: &At<'_>, config: &Config) {
    let mut keys = config.listeners.iter().flat_map(|listener| &listener.client_keys);
    let unscoped = keys.any(|key| key.scope.is_none());
    if let (Some(at), true, true) =
        (root.get("routing"), unscoped, config.routing.tenant_header.is_some())
    {
        at.warn("a client key without scope may name any tenant in the tenant header");
    }
}

/// A gateway that calls itself would do so without end.
fn refuse_loops(root: &At<'_>, listeners: &[Listener], providers: &[Provider], router: &Router) {
    let own = "leads back to a listener of this gateway";
    let at = root.get("routing").and_then(|routing| routing.get("router")?.get("url"));
    if let (Some(at), Router::Llm { url, .. } | Router::Plano { url, .. }) = (at, router)
        && url::is_own(url, listeners)
    {
        at.error(own);
    }
    for at in providers::items(root) {
        let model = at.get("model").and_then(|model| model.text());
        let provider = providers.iter().find(|p| Some(p.model.as_str()) == model.as_deref());
        if provider.is_some_and(|provider| url::is_own(&provider.base_url, listeners)) {
            at.error(format!("base_url {own}"));
        }
    }
}

/// In the order of the lines. A section may read a value twice: its error is reported once.
fn in_order(mut findings: Vec<Finding>) -> Vec<Finding> {
    let key = |finding: &Finding| (finding.line, finding.path.clone(), finding.message.clone());
    findings.sort_by_cached_key(key);
    findings.dedup();
    findings
}
