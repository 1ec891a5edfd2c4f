//! Where in a request the affinity key is found.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};

use super::{AffinityKey, InvalidPart, Scope};
use crate::Rejection;

/// The three generations of the feature's own header, newest name first.
pub const AFFINITY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-model-affinity"),
    HeaderName::from_static("x-routing-session-id"),
    HeaderName::from_static("x-session-id"),
];

/// Reads the [`AffinityKey`] of a request from its headers and extensions.
///
/// 1. The first header of the list that is present names the session; the others are not looked at.
/// 2. The scope is the [`Scope`] in the request's extensions, else the value of the tenant header
///    if one is configured. With a tenant header configured, a session without a scope is refused.
/// 3. The body is never read.
#[derive(Clone, Debug)]
pub struct KeySource {
    headers: Vec<HeaderName>,
    tenant_header: Option<HeaderName>,
}

impl Default for KeySource {
    fn default() -> Self {
        Self { headers: AFFINITY_HEADERS.to_vec(), tenant_header: None }
    }
}

impl KeySource {
    pub(crate) fn headers(&mut self, headers: impl IntoIterator<Item = HeaderName>) {
        self.headers = headers.into_iter().collect();
    }

    pub(crate) fn tenant_header(&mut self, header: HeaderName) {
        self.tenant_header = Some(header);
    }

    /// The key of a request, `None` when it names no session.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] when the session id or the scope is present but not usable, or when the
    /// scope is missing though a tenant header is configured.
    pub fn key(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let Some(session) = self.session(headers)? else {
            return Ok(None);
        };
        let scope = self.scope(headers, extensions)?;
        Ok(Some(session.with_scope(scope)))
    }

    fn session(&self, headers: &HeaderMap) -> Result<Option<AffinityKey>, Rejection> {
        for name in &self.headers {
            if let Some(value) = single(headers, name).map_err(Rejection::InvalidSessionId)? {
                let key = AffinityKey::from_header(value).map_err(Rejection::InvalidSessionId)?;
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    fn scope(&self, headers: &HeaderMap, ext: &Extensions) -> Result<Option<Scope>, Rejection> {
        if let Some(scope) = ext.get::<Scope>() {
            return Ok(Some(scope.clone()));
        }
        let Some(name) = &self.tenant_header else {
            return Ok(None);
        };
        let value = single(headers, name).map_err(Rejection::InvalidScope)?;
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Err(Rejection::MissingScope);
        };
        Scope::from_header(value).map(Some).map_err(Rejection::InvalidScope)
    }
}

/// The one value of a header; a repeated header is fine as long as it repeats itself.
pub(crate) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, InvalidPart> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.any(|value| Some(value) != first) {
        return Err(InvalidPart::Conflict);
    }
    Ok(first)
}

/// Whether a request may use a model at all. The rest passes the layer and never makes a pin.
pub(crate) fn asks_a_model<B>(request: &http::Request<B>) -> bool {
    // Java's client offers h2c with every request; nobody takes it up (RFC 9113, section 3.1), and
    // the request is one like any other.
    let is_upgrade = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"h2c");
    request.method() == http::Method::POST
        && !request.headers().get_all(header::UPGRADE).iter().any(is_upgrade)
}
