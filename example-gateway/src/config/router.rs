//! How a request without a pin is decided.

use std::time::Duration;

use http::Uri;
use secrecy::SecretString;

use super::at::At;
use super::providers::{Interface, Provider};
use super::url;

const DEFAULT_MODEL: &str = "Arch-Router";
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(2000);

/// What decides a request without a pin.
#[derive(Clone, Debug)]
pub enum Router {
    /// The embedded one, which compares the last message with the preferences.
    Lexical,
    /// A routing model behind an endpoint of the shape of OpenAI's.
    Llm {
        /// The base address, to which `/chat/completions` is added.
        url: Uri,
        /// The model as the endpoint calls it.
        model: String,
        /// The key of the endpoint.
        access_key: Option<SecretString>,
        /// What a decision may take; 2 s by default.
        timeout: Duration,
    },
    /// Another gateway's decision API.
    Plano {
        /// The address, to which `/routing/v1/...` is added.
        url: Uri,
        /// What a decision may take; 2 s by default.
        timeout: Duration,
    },
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Lexical,
    Llm,
    Plano,
}

pub(super) fn read(root: &At<'_>, providers: &[Provider]) -> Router {
    match root.get("routing").and_then(|routing| routing.get("router")) {
        Some(at) => configured(&at).unwrap_or(Router::Lexical),
        None => from_provider(root, providers).unwrap_or(Router::Lexical),
    }
}

fn configured(at: &At<'_>) -> Option<Router> {
    let kinds = [("lexical", Kind::Lexical), ("llm", Kind::Llm), ("plano", Kind::Plano)];
    let kind = match at.get("type") {
        Some(kind) => kind.one_of(&kinds)?,
        None => Kind::Lexical,
    };
    let used: &[_] = match kind {
        Kind::Lexical => &["type"],
        Kind::Llm => &["type", "url", "timeout_ms", "model", "access_key"],
        Kind::Plano => &["type", "url", "timeout_ms"],
    };
    for unused in at.entries().iter().filter(|entry| !used.contains(&entry.key())) {
        unused.warn("has no effect with this type of router");
    }
    if kind == Kind::Lexical {
        return Some(Router::Lexical);
    }
    let timeout = at.get("timeout_ms").and_then(|at| at.integer(1..=60_000, " of milliseconds"));
    let timeout = timeout.map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    let url = at.require("url").and_then(|url| url.parsed(url::http_base))?;
    if kind == Kind::Plano {
        return Some(Router::Plano { url, timeout });
    }
    let model = at.get("model").and_then(|model| model.text());
    Some(Router::Llm {
        url,
        model: model.unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
        access_key: at.get("access_key").and_then(|key| key.provider_secret()),
        timeout,
    })
}

/// The older form: the routing model is one of the providers, named by
/// `overrides.llm_routing_model`, or by `routing.llm_provider` and `routing.model`.
fn from_provider(root: &At<'_>, providers: &[Provider]) -> Option<Router> {
    let get = |section: &str, key| root.get(section).and_then(|section| section.get(key));
    let model = get("overrides", "llm_routing_model").or_else(|| get("routing", "model"));
    let owner = get("routing", "llm_provider");
    let at = model.as_ref().or(owner.as_ref())?;
    let model = match &model {
        Some(model) => Some(model.text()?),
        None => None,
    };
    let owner = match &owner {
        Some(owner) => Some(owner.text()?),
        None => None,
    };
    let owned = |p: &&Provider| owner.as_deref().is_none_or(|owner| is_called(p, owner));
    let id = |p: &Provider| {
        model.as_deref().map_or(Some(p.id()), |model| id_of(p, model)).map(str::to_owned)
    };
    let found = providers.iter().filter(owned).find_map(|p| Some((p, id(p)?)));
    let Some((provider, id)) = found.filter(|(_, id)| id != "*") else {
        at.warn("no such model among model_providers; the lexical router decides instead");
        return None;
    };
    if provider.interface == Interface::Anthropic {
        at.warn("a routing model must speak chat completions; the lexical router decides instead");
        return None;
    }
    Some(Router::Llm {
        url: chat_base(&provider.base_url),
        model: id,
        access_key: provider.access_key.clone(),
        timeout: DEFAULT_TIMEOUT,
    })
}

/// Whether `routing.llm_provider: owner` means this provider: by its name, its model, or the first
/// part of its model.
fn is_called(provider: &Provider, owner: &str) -> bool {
    let model = provider.model.as_str();
    provider.name.as_deref() == Some(owner) || model == owner || provider.prefix() == owner
}

/// What the provider calls the model `name`, `None` when it does not serve it.
fn id_of<'a>(provider: &'a Provider, name: &'a str) -> Option<&'a str> {
    let same = provider.name.as_deref() == Some(name) || provider.id() == name;
    if same || provider.model.as_str() == name {
        return Some(provider.id());
    }
    provider.serves(name).then(|| name.split_once('/').map_or(name, |(_, id)| id))
}

/// Where a provider takes chat completions: a base without a path keeps the `/v1` of the request.
pub(super) fn chat_base(base: &Uri) -> Uri {
    if base.path() != "/" {
        return base.clone();
    }
    format!("{base}v1").parse().unwrap_or_else(|_| base.clone())
}
