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
    let older = OlderKeys::read(root);
    match root.get("routing").and_then(|routing| routing.get("router")) {
        Some(at) => configured(&at).unwrap_or(Router::Lexical),
        None => older.router(providers).unwrap_or(Router::Lexical),
    }
}

fn configured(at: &At<'_>) -> Option<Router> {
    let kinds = [("lexical", Kind::Lexical), ("llm", Kind::Llm), ("plano", Kind::Plano)];
    let kind = match at.get("type") {
        Some(kind) => kind.one_of(&kinds),
        None => Some(Kind::Lexical),
    };
    let asks = matches!(kind, None | Some(Kind::Llm | Kind::Plano));
    let asks_model = matches!(kind, None | Some(Kind::Llm));
    let why = "has no effect with this type of router";
    let url = match kind {
        Some(_) => at.require_if(asks, "url", why),
        None => at.get("url"),
    };
    let url = url.and_then(|url| url.parsed(url::http_base));
    let timeout = at
        .get_if(asks, "timeout_ms", why)
        .and_then(|at| at.integer(1..=60_000, " of milliseconds"))
        .map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    let model = at.get_if(asks_model, "model", why).and_then(|model| model.text());
    let access_key = at.get_if(asks_model, "access_key", why).and_then(|key| key.provider_secret());
    Some(match kind? {
        Kind::Lexical => Router::Lexical,
        Kind::Plano => Router::Plano { url: url?, timeout },
        Kind::Llm => Router::Llm {
            url: url?,
            model: model.unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
            access_key,
            timeout,
        },
    })
}

/// The older form: the routing model is one of the providers, named by
/// `overrides.llm_routing_model`, or by `routing.llm_provider` and `routing.model`.
struct OlderKeys<'a> {
    model: Option<At<'a>>,
    owner: Option<At<'a>>,
}

impl<'a> OlderKeys<'a> {
    fn read(root: &At<'a>) -> Self {
        let overrides = root.get("overrides");
        let routing = root.get("routing");
        let model = overrides.as_ref().and_then(|overrides| overrides.get("llm_routing_model"));
        let older_model = routing.as_ref().and_then(|routing| routing.get("model"));
        let owner = routing.as_ref().and_then(|routing| routing.get("llm_provider"));
        if let Some(overrides) = &overrides {
            overrides.not_served(&[
                "agent_orchestration_model",
                "disable_signals",
                "optimize_context_window",
                "orchestrator_model_context_length",
                "prompt_target_intent_matching_threshold",
                "upstream_connect_timeout",
                "upstream_tls_ca_path",
                "use_agent_orchestrator",
            ]);
        }
        Self { model: model.or(older_model), owner }
    }

    fn router(&self, providers: &[Provider]) -> Option<Router> {
        let Self { model, owner } = self;
        let at = model.as_ref().or(owner.as_ref())?;
        let model = match model {
            Some(model) => Some(model.text()?),
            None => None,
        };
        let owner = match owner {
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
            at.warn(
                "a routing model must speak chat completions; the lexical router decides instead",
            );
            return None;
        }
        Some(Router::Llm {
            url: chat_base(&provider.base_url),
            model: id,
            access_key: provider.access_key.clone(),
            timeout: DEFAULT_TIMEOUT,
        })
    }
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
