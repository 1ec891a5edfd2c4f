//! Whose request it is, where tenants are told apart.
//!
//! The affinity layer finds the tenant of a request that names a session. What lives at a provider belongs to
//! a tenant too, and is asked for without a session: so the tenant is put into the extensions, as the scope
//! of a client key is.

use affinity_layer::{Rejection, Scope};
use http::request::Parts;
use http::{HeaderName, HeaderValue};

use crate::config::Config;

/// Where the tenant of a request is found.
#[derive(Clone, Debug)]
pub(crate) struct Tenants {
    header: Option<HeaderName>,
    /// Some key of a client has a scope.
    by_key: bool,
}

impl Tenants {
    pub(crate) fn new(config: &Config) -> Self {
        let mut keys = config.listeners.iter().flat_map(|listener| &listener.client_keys);
        let by_key = keys.any(|key| key.scope.is_some());
        Self { header: config.routing.tenant_header.clone(), by_key }
    }

    /// Whether there is more than one.
    pub(crate) fn are_told_apart(&self) -> bool {
        self.header.is_some() || self.by_key
    }

    /// Puts the tenant into the extensions of a request whose header names one that can be used. The affinity
    /// layer judges any other, if the request names a session.
    pub(crate) fn mark(&self, parts: &mut Parts) {
        if let Ok(Some(scope)) = self.of(parts) {
            parts.extensions.insert(scope);
        }
    }

    /// The tenant of a request. The scope of its key goes before the header, which anyone can send.
    ///
    /// # Errors
    ///
    /// As for a request that names a session: a tenant header that is configured must be there and be usable.
    pub(crate) fn of(&self, parts: &Parts) -> Result<Option<Scope>, Rejection> {
        if let Some(scope) = parts.extensions.get::<Scope>() {
            return Ok(Some(scope.clone()));
        }
        let Some(name) = &self.header else { return Ok(None) };
        let mut values = parts.headers.get_all(name).iter();
        let first = values.next().filter(|value| !value.is_empty());
        let first = first.ok_or(Rejection::MissingScope)?;
        let is_one = values.all(|value| value == first);
        // Another value than ASCII is no scope, as two of them are none.
        let text = Some(first).filter(|_| is_one).map(HeaderValue::to_str);
        let text = text.and_then(Result::ok).unwrap_or("\u{0}");
        Scope::new(text).map(Some).map_err(Rejection::InvalidScope)
    }
}
