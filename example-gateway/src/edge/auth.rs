//! Who may come in: the client keys of a listener.

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use crate::config::ClientKey;
use crate::error::ApiError;

/// Lets a request in if it carries one of the `keys`, and sets the scope of that key; without keys,
/// everyone is let in.
///
/// Every key is compared, each in constant time, so that the time of the answer does not reveal how
/// much of a key was right.
pub(crate) fn check<B>(keys: &[ClientKey], request: &mut Request<B>) -> Result<(), ApiError> {
    if keys.is_empty() {
        return Ok(());
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
        let text = "a valid key is needed: Authorization: Bearer KEY, or x-api-key: KEY";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", text));
    };
    if let Some(scope) = key.scope.clone() {
        request.extensions_mut().insert(scope);
    }
    Ok(())
}

fn shown(headers: &HeaderMap) -> Vec<&[u8]> {
    bearer(headers).chain(headers.get_all("x-api-key").iter().map(HeaderValue::as_bytes)).collect()
}

/// What the request shows as `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key.trim_ascii())
    })
}
