//! A provider as it is called: where, as which host, with which credential. All that can be is made
//! ready when the program starts.

use std::sync::Arc;

use http::header::{self, HeaderName};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Uri};
use secrecy::ExposeSecret;

use super::address::Address;
use crate::config::{Interface, Provider};
use crate::credentials::{is_credential, is_credential_pair, without_pairs};
use crate::protocol::Protocol;
use crate::telemetry::metrics::Upstream;
use crate::upstream::callee::Entry;
use crate::upstream::hop;

#[derive(Debug)]
pub(super) struct Target {
    /// Takes the place of the leading `/v1` of a path; without it, the path is kept.
    path: Option<String>,
    host: HeaderValue,
    /// The provider's key; apart from it for Messages, of which some providers take it elsewhere.
    key: Option<(HeaderName, HeaderValue)>,
    messages_key: Option<(HeaderName, HeaderValue)>,
    speaks_anthropic: bool,
    /// Requests go with the credential of their client.
    pub(super) passes_auth: bool,
    headers: HeaderMap,
    pub(super) counts: Arc<Upstream>,
    pub(super) address: Arc<Address>,
    /// As log lines name it.
    pub(super) entry: Arc<Entry>,
}

impl Target {
    pub(super) fn new(provider: &Provider, address: Arc<Address>) -> Self {
        let path = provider.base_url.path().trim_end_matches('/');
        let key = |anthropic| provider.access_key.as_ref().map(|key| credential(key, anthropic));
        let (key, messages_key) = match provider.passthrough_auth {
            true => (None, None),
            false => (key(false), key(provider.interface == Interface::Anthropic)),
        };
        Self {
            path: (!path.is_empty() && path != "/v1").then(|| path.to_owned()),
            host: provider.http_host.clone().unwrap_or_else(|| host(&provider.base_url)),
            key: key.flatten(),
            messages_key: messages_key.flatten(),
            speaks_anthropic: provider.interface == Interface::Anthropic,
            passes_auth: provider.passthrough_auth,
            headers: provider.headers.clone(),
            entry: Arc::new(Entry::of(provider)),
            counts: Arc::new(Upstream::new(provider.model.as_str())),
            address,
        }
    }

    /// The target of a request for `uri`, in the form for a server.
    pub(super) fn uri(&self, uri: &Uri) -> Option<Uri> {
        let own = if self.passes_auth { None } else { without_pairs(uri, is_credential_pair) };
        let asked = own.as_ref().unwrap_or(uri).path_and_query()?;
        let Some(base) = &self.path else {
            return Some(asked.clone().into());
        };
        let asked = asked.as_str();
        let below = asked.strip_prefix("/v1").unwrap_or(asked);
        PathAndQuery::try_from(format!("{base}{below}")).ok().map(Uri::from)
    }

    /// The client's headers that are passed on, with those of the provider.
    pub(super) fn head(
        &self,
        protocol: Protocol,
        withheld: &[HeaderName],
        mut headers: HeaderMap,
    ) -> HeaderMap {
        hop::strip_and(&mut headers, |name| {
            // The length may change with the name of the model; hyper writes it again.
            [header::HOST, header::CONTENT_LENGTH, header::EXPECT].contains(name)
                || !self.passes_auth && is_credential(name)
                || withheld.contains(name)
        });
        let anthropic = self.speaks_anthropic && protocol == Protocol::Messages;
        headers.insert(header::HOST, self.host.clone());
        if let Some((name, key)) = if anthropic { &self.messages_key } else { &self.key } {
            headers.insert(name, key.clone());
        }
        if anthropic {
            let version = HeaderValue::from_static("2023-06-01");
            headers.entry("anthropic-version").or_insert(version);
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        headers
    }
}

fn credential(key: &secrecy::SecretString, anthropic: bool) -> Option<(HeaderName, HeaderValue)> {
    let key = key.expose_secret();
    let (name, text) = match anthropic {
        true => (HeaderName::from_static("x-api-key"), key.to_owned()),
        false => (header::AUTHORIZATION, format!("Bearer {key}")),
    };
    // A key that a header cannot hold was refused with the configuration.
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// The host of a base, without a port that goes without saying.
fn host(base: &Uri) -> HeaderValue {
    let usual = if base.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let name = base.host().unwrap_or_default();
    let text = match base.authority().and_then(Authority::port_u16) {
        Some(port) if port != usual => format!("{name}:{port}"),
        _ => name.to_owned(),
    };
    // A host that a header cannot hold was refused with the configuration.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
