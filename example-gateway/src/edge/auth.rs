//! Who may come in: the client keys of a listener.
//!
//! [`front`](super::front) calls it for each request of a path that is for clients, before the body is read.
//! The scope of a key becomes the tenant of the request: a key of another scope cannot use, move or end its
//! sessions. The key is for us, so it is removed where no provider expects a credential, such as the query.
//! Where one is expected, the [proxy](crate::upstream::proxy) removes it unless the provider takes the
//! client's own.

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use crate::config::ClientKey;
use crate::credentials::{is_credential, without_pairs};
use crate::error::ApiError;

/// Lets a request in if it carries one of the `keys`, which is returned, and sets the scope of that key;
/// without keys, everyone is let in.
///
/// Every key is compared, each in constant time, so that the time of the answer does not reveal how
/// much of a key was right.
pub(crate) fn check<'a, B>(
    keys: &'a [ClientKey],
    request: &mut Request<B>,
) -> Result<Option<&'a ClientKey>, ApiError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let shown = shown(request.headers());
    let mut found = None;
    for key in keys {
        let expected = key.key.expose_secret().as_bytes();
        if shown.iter().any(|shown| bool::from(shown.ct_eq(expected))) {
            found = Some(key);
        }
    }
    let Some(key) = found else {
        let text = "a valid key is needed, as one of Authorization: Bearer KEY, x-api-key: KEY and \
                    api-key: KEY";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", text));
    };
    if let Some(scope) = key.scope.clone() {
        request.extensions_mut().insert(scope);
    }
    forget(key.key.expose_secret(), request);
    Ok(Some(key))
}

/// The keys that a request shows, where the SDKs of OpenAI, Anthropic and Azure put them.
fn shown(headers: &HeaderMap) -> Vec<&[u8]> {
    let plain = ["x-api-key", "api-key"].into_iter().flat_map(|name| headers.get_all(name));
    bearer(headers).chain(plain.map(HeaderValue::as_bytes)).collect()
}

/// Removes our own key from places where no provider expects a credential: other headers and the query.
fn forget<B>(key: &str, request: &mut Request<B>) {
    let is_apart = |byte: &u8| matches!(byte, b' ' | b'\t' | b',' | b';' | b'=');
    let holds =
        |value: &HeaderValue| value.as_bytes().split(is_apart).any(|part| part == key.as_bytes());
    let headers = request.headers_mut();
    let odd = |(name, value): (&HeaderName, &HeaderValue)| {
        (holds(value) && !is_credential(name)).then(|| name.clone())
    };
    let odd: Vec<_> = headers.iter().filter_map(odd).collect();
    for name in odd {
        headers.remove(name);
    }
    let is_key = |pair: &str| {
        let (_, value) = pair.split_once('=').unwrap_or(("", pair));
        percent_decode_str(value).eq(key.bytes())
    };
    if let Some(uri) = without_pairs(request.uri(), is_key) {
        *request.uri_mut() = uri;
    }
}

/// What the request shows as `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key.trim_ascii())
    })
}
