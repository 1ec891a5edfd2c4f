//! How a provider is spoken to: where, under which name of the model, with which credential.

use affinity_layer::ModelName;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Uri, header};
use secrecy::ExposeSecret;

use crate::config::{Interface, Provider};
use crate::protocol::Protocol;

impl Provider {
    /// Whether the provider takes requests of `protocol`.
    pub(crate) fn speaks(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Chat => self.protocols.chat,
            Protocol::Messages => self.protocols.messages,
            Protocol::Responses => self.protocols.responses,
        }
    }

    /// What the provider itself calls `model`: the name without its first part.
    pub(crate) fn upstream_id<'a>(&self, model: &'a ModelName) -> &'a str {
        model.as_str().split_once('/').map_or(model.as_str(), |(_, id)| id)
    }

    /// Where a request for `uri` goes: a base without a path keeps the path of the request, one
    /// with a path takes the place of its leading `/v1`.
    pub(crate) fn upstream_uri(&self, uri: &Uri) -> Uri {
        let base = self.base_url.path().trim_end_matches('/');
        let asked = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let mut parts = self.base_url.clone().into_parts();
        parts.scheme = parts.scheme.or(Some(Scheme::HTTP));
        parts.path_and_query = if base.is_empty() || base == "/v1" && asked.starts_with(base) {
            // The usual: what is there already need not be written and read anew.
            uri.path_and_query().cloned()
        } else {
            let below = asked.strip_prefix("/v1").unwrap_or(asked);
            PathAndQuery::try_from(format!("{base}{below}")).ok()
        };
        // The parts were checked when the configuration was read, so the base is never sent to.
        Uri::from_parts(parts).unwrap_or_else(|_| self.base_url.clone())
    }

    /// Adds the provider's own headers, its key among them.
    pub(crate) fn sign(&self, protocol: Protocol, headers: &mut HeaderMap) {
        if let Some(host) = &self.http_host {
            headers.insert(header::HOST, host.clone());
        }
        let anthropic = self.interface == Interface::Anthropic && protocol == Protocol::Messages;
        if let Some(key) = self.access_key.as_ref().filter(|_| !self.passthrough_auth) {
            let key = key.expose_secret();
            let (name, text) = match anthropic {
                true => (header::HeaderName::from_static("x-api-key"), key.to_owned()),
                false => (header::AUTHORIZATION, format!("Bearer {key}")),
            };
            // A key that cannot stand in a header was refused with the configuration.
            if let Ok(mut value) = HeaderValue::try_from(text) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        if anthropic {
            let version = HeaderValue::from_static("2023-06-01");
            headers.entry("anthropic-version").or_insert(version);
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
    }
}
