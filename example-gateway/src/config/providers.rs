//! Who serves the models.

use std::time::Duration;

use affinity_layer::ModelName;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use secrecy::{ExposeSecret, SecretString};

use affinity_layer::body::Inputs;

use super::abilities::{self, Protocols};
use super::at::At;
use super::prices::{self, known_model};
use super::url;
use super::vendors::Vendor;
use crate::prices::Price;
use crate::protocol::Protocol;

/// One model, or all models of a provider, and how to reach it.
#[derive(Clone, Debug)]
pub struct Provider {
    /// `openai/gpt-4o`, or `openai/*` for every model of a provider.
    pub model: ModelName,
    /// A name by which the configuration may refer to this entry.
    pub name: Option<String>,
    /// The key that is sent to the provider.
    pub access_key: Option<SecretString>,
    /// Whether this model serves what no route matched and no client named; at most one does.
    pub default: bool,
    /// Where the provider answers; its path, if there is one, replaces a request's leading `/v1`.
    pub base_url: Uri,
    /// How the key is sent.
    pub interface: Interface,
    /// Send the client's own credential on instead of `access_key`.
    pub passthrough_auth: bool,
    /// Further headers for the provider. All are marked sensitive.
    pub headers: HeaderMap,
    /// The `host` header, when it is not the host of `base_url`.
    pub http_host: Option<HeaderValue>,
    /// What the provider speaks: as declared, else as its vendor documents.
    pub protocols: Protocols,
    /// What the file says of it.
    pub(super) declared_protocols: Option<Protocols>,
    /// What the model accepts besides text.
    pub input: Inputs,
    /// How many tokens a request may have; unknown without it.
    pub context_window: Option<u64>,
    /// What the file says that tokens cost; see [`price_of`](Self::price_of).
    pub(super) price: Option<Price>,
    /// What the file says of the provider's cache; see [`cache_ttl_of`](Self::cache_ttl_of).
    pub(super) cache_ttl: Option<Duration>,
    /// Where the file has it, as the start of a finding.
    pub(super) place: String,
    /// What the file says of its taking a `prompt_cache_key`.
    pub(super) prompt_cache_key: Option<bool>,
}

impl Provider {
    /// The model as the provider calls it: `gpt-4o` of `openai/gpt-4o`, and `*` of a wildcard.
    #[must_use]
    pub fn id(&self) -> &str {
        self.upstream_id(&self.model)
    }

    /// What the provider itself calls `model`: the name without its first part.
    pub(crate) fn upstream_id<'a>(&self, model: &'a ModelName) -> &'a str {
        model.as_str().split_once('/').map_or(model.as_str(), |(_, id)| id)
    }

    /// The first part of the model's name: `openai` of `openai/gpt-4o`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        prefix(&self.model)
    }

    /// Whether this entry is the model `name`, or a wildcard that covers it.
    #[must_use]
    pub fn serves(&self, name: &str) -> bool {
        let id = name.strip_prefix(self.prefix()).and_then(|rest| rest.strip_prefix('/'));
        self.model.as_str() == name || self.is_wildcard() && id.is_some_and(|id| !id.is_empty())
    }

    /// Whether this entry means every model of its provider.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.id() == "*"
    }

    /// Whether requests of `protocol` may have a `prompt_cache_key`: as the file says, else as the vendor
    /// documents for its own address. A server that only speaks like it may refuse what it does not know.
    pub(crate) fn takes_cache_key(&self, protocol: Protocol) -> bool {
        let vendor =
            || Vendor::named(self.prefix()).filter(|vendor| vendor.base() == self.base_url);
        let known = || vendor().is_some_and(|vendor| vendor.cache_key.include(protocol));
        // Messages marks the ends of what is cached in the prompt itself.
        protocol != Protocol::Messages && self.prompt_cache_key.unwrap_or_else(known)
    }

    /// What tokens of `model`, which this entry serves, cost: as the file says, else as the table of
    /// well-known models does. `None` is unknown.
    #[must_use]
    pub fn price_of(&self, model: &ModelName) -> Option<&Price> {
        let known = || known_model(model.as_str()).map(|known| &known.price);
        self.price.as_ref().or_else(known)
    }

    /// How long the provider keeps the beginning of a prompt of `model` in its cache after its last use; as
    /// with [`price_of`](Self::price_of).
    #[must_use]
    pub fn cache_ttl_of(&self, model: &ModelName) -> Option<Duration> {
        self.cache_ttl.or_else(|| known_model(model.as_str()).and_then(|known| known.cache_ttl))
    }

    /// Whether the provider takes requests of `protocol`.
    pub(crate) fn speaks(&self, protocol: Protocol) -> bool {
        self.protocols.include(protocol)
    }
}

/// How a provider takes its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// `authorization: Bearer KEY`.
    OpenAi,
    /// `x-api-key: KEY` and `anthropic-version`.
    Anthropic,
}

/// Used if no address is needed, because `--upstream` replaces it.
const UNUSED_BASE: &str = "http://upstream.invalid";

/// Headers that the proxy must set itself.
const RESERVED: [HeaderName; 4] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

/// The provider entries of the file, under either name of the key.
pub(super) fn items<'a>(root: &At<'a>) -> Vec<At<'a>> {
    let lists = ["model_providers", "llm_providers"];
    lists.iter().filter_map(|key| root.get(key)).flat_map(|list| list.items()).collect()
}

pub(super) fn read(root: &At<'_>) -> Vec<Provider> {
    let mut read = Vec::<(Provider, u64)>::new();
    for at in items(root) {
        let Some(provider) = read_one(&at) else {
            at.context.is_misnamed.set(true);
            continue;
        };
        if let Some((_, line)) = read.iter().find(|(other, _)| other.model == provider.model) {
            at.error(format!("this model is declared already in line {line}"));
        }
        let default = read.iter().find(|(other, _)| other.default);
        if let (true, Some((_, line))) = (provider.default, default) {
            at.error(format!("only one model can be the default; line {line} has one already"));
        }
        read.push((provider, at.line()));
    }
    if items(root).is_empty() {
        root.context.is_misnamed.set(true);
        root.error("model_providers must name at least one model");
    }
    let mut providers: Vec<_> = read.into_iter().map(|(provider, _)| provider).collect();
    settle_protocols(&mut providers);
    providers
}

/// Gives providers that declare no protocols those that their vendor documents, and all of them
/// where the vendor is unknown.
///
/// The user's own address may be that of a gateway or a server that speaks more than the vendor does.
/// So a provider there also speaks what no provider at another address does, because no other could
/// serve it.
pub(super) fn settle_protocols(providers: &mut [Provider]) {
    for provider in providers.iter_mut() {
        provider.protocols = provider.declared_protocols.unwrap_or_else(|| {
            Vendor::named(provider.prefix()).map_or_else(Protocols::default, |v| v.protocols)
        });
    }
    let settled = providers.to_vec();
    for provider in providers.iter_mut() {
        let vendor =
            Vendor::named(provider.prefix()).filter(|_| provider.declared_protocols.is_none());
        let Some(vendor) = vendor.filter(|vendor| vendor.base() != provider.base_url) else {
            continue;
        };
        let others = settled.iter().filter(|other| other.base_url != provider.base_url);
        let none = Protocols::default().missing();
        let elsewhere = others.map(|other| other.protocols).fold(none, Protocols::or);
        provider.protocols = vendor.protocols.or(elsewhere.missing());
    }
}

/// The model that a bare `id` means, which none of `providers` declares: that of the wildcard of
/// the vendor whose models are called so, else of the only wildcard.
pub(crate) fn of_wildcard(providers: &[Provider], id: &str) -> Option<ModelName> {
    let mut wildcards = providers.iter().filter(|provider| provider.is_wildcard());
    let wildcard = match Vendor::of_id(id) {
        Some(vendor) => wildcards.find(|wildcard| wildcard.prefix() == vendor.name),
        None => wildcards.next().filter(|_| wildcards.next().is_none()),
    };
    let prefix = wildcard.filter(|_| !id.contains('/') && id != "*")?.prefix();
    ModelName::new(&format!("{prefix}/{id}")).ok()
}

/// The name of the model. What is read of a provider apart from it does not decide whether the
/// model is declared, so that one error does not bring others after it.
pub(super) fn model(at: &At<'_>) -> Option<ModelName> {
    let model = at.require("model")?;
    let name = model.parsed(ModelName::new)?;
    match name.as_str().split_once('/') {
        Some((provider, id)) if !provider.is_empty() && !id.is_empty() => Some(name),
        _ => {
            model.error("must be provider/id, for example openai/gpt-4o");
            None
        }
    }
}

fn read_one(at: &At<'_>) -> Option<Provider> {
    at.not_served(&["internal"]);
    let model = model(at);
    let prefix = model.as_ref().map(prefix);
    let provider = Provider {
        name: at.get("name").and_then(|name| name.text()),
        access_key: at.get("access_key").and_then(|key| access_key(&key)),
        default: at.flag_or("default", false),
        base_url: base_url(at, prefix),
        interface: interface(at, prefix),
        passthrough_auth: at.flag_or("passthrough_auth", false),
        headers: at.get("headers").map(|headers| read_headers(&headers)).unwrap_or_default(),
        http_host: at.get("http_host").and_then(|host| host.parsed(header_value)),
        protocols: Protocols::default(),
        declared_protocols: at.get("protocols").map(|list| abilities::protocols(&list)),
        input: at.get("input").map_or(Inputs::ALL, |list| abilities::inputs(&list)),
        context_window: at
            .get("context_window")
            .and_then(|tokens| tokens.integer(1..=1_000_000_000, " of tokens")),
        price: prices::price(at),
        cache_ttl: prices::cache_ttl(at),
        place: at.place(),
        prompt_cache_key: at.get("prompt_cache_key").and_then(|flag| flag.flag()),
        model: model?,
    };
    if provider.default && provider.is_wildcard() {
        at.error("a wildcard names no single model, so it cannot be the default");
    }
    if provider.passthrough_auth && provider.access_key.is_some() {
        at.warn("access_key has no effect with passthrough_auth: true");
    }
    Some(provider)
}

fn access_key(at: &At<'_>) -> Option<SecretString> {
    let key = at.provider_secret()?;
    let text = key.expose_secret();
    if HeaderValue::from_str(text).is_err() {
        at.error("holds a character that a header cannot hold, such as a line break");
    } else if text.starts_with(['"', '\'']) {
        at.error("begins with a quote, which would be sent: leave out the quotes within the value");
    } else if text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("bearer ")) {
        at.error("begins with Bearer, which the gateway adds: write the key alone");
    }
    Some(key)
}

fn prefix(model: &ModelName) -> &str {
    model.as_str().split_once('/').map_or("", |(prefix, _)| prefix)
}

/// `prefix` is unknown where the model's name is wrong: then the address is not missed as well.
fn base_url(at: &At<'_>, prefix: Option<&str>) -> Uri {
    let unused = Uri::from_static(UNUSED_BASE);
    let may_miss = at.context.upstream_override;
    if let Some(base) = at.get("base_url") {
        let text = base.provider_text();
        let parsed = text.map(|text| url::http_base(&text).map_err(|why| base.error(why)));
        return parsed.and_then(Result::ok).unwrap_or(unused);
    }
    match prefix.and_then(Vendor::named) {
        Some(vendor) => vendor.base(),
        None if may_miss || prefix.is_none() => unused,
        None => {
            let known = Vendor::names();
            at.error(format!("base_url is missing; only these providers need none: {known}"));
            unused
        }
    }
}

fn interface(at: &At<'_>, prefix: Option<&str>) -> Interface {
    let named = at.get("provider_interface").and_then(|interface| interface.text());
    match named.as_deref().or(prefix) {
        Some("anthropic" | "claude") => Interface::Anthropic,
        _ => Interface::OpenAi,
    }
}

fn read_headers(at: &At<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for item in at.entries() {
        let Ok(name) = HeaderName::try_from(item.key()) else {
            item.error("is not a header name");
            continue;
        };
        if RESERVED.contains(&name) {
            item.error("is set by the gateway; for another host use http_host");
        }
        let Some(text) = item.provider_text() else { continue };
        match header_value(&text) {
            Ok(value) => drop(headers.insert(name, value)),
            Err(why) => item.error(why),
        }
    }
    headers
}

/// A header value that no `Debug` form shows.
fn header_value(text: &str) -> Result<HeaderValue, &'static str> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "is not a header value")?;
    value.set_sensitive(true);
    Ok(value)
}
