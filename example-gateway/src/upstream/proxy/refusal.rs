//! What it means when a provider refuses a request that went with a credential of our own.
//!
//! The client can mend neither our key nor our configuration, so such a refusal is a failure of the
//! candidate and not an answer to the client.

use affinity_layer::ext::{LastingFailure, Replaced};
use axum::body::Body;
use http::response::Parts;
use http::{Response, StatusCode, header};

use crate::body::{Beginning, Envelope};
use crate::error::ApiError;

/// The most that is read of an error to learn why it was given.
const LONGEST_ERROR: usize = 64 * 1024;

/// What shows in an error that the content was refused and not the credential. Compared in lower case.
const POLICY: [&str; 6] =
    ["policy", "policies", "moderation", "content_filter", "flagged", "safety"];

/// The answer to `request`, marked where it tells of a failure of the candidate.
///
/// # Errors
///
/// What the client is told in place of a refusal of our credential.
pub(super) async fn judged(
    mut response: Response<Body>,
    request: &Envelope,
) -> Result<Response<Body>, ApiError> {
    let is_failure = match response.status() {
        StatusCode::NOT_FOUND => !request.refers_to_its_provider(),
        StatusCode::GONE | StatusCode::FAILED_DEPENDENCY => true,
        _ => return of_credential(response).await,
    };
    if is_failure {
        response.extensions_mut().insert(LastingFailure);
    }
    Ok(response)
}

/// The answer, unless it refuses our credential.
///
/// # Errors
///
/// What the client is told in its place.
pub(super) async fn of_credential(response: Response<Body>) -> Result<Response<Body>, ApiError> {
    match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED => {
            Err(refused(&response.into_parts().0))
        }
        StatusCode::FORBIDDEN => forbidden(response).await,
        _ => Ok(response),
    }
}

/// A 403 speaks of the content where its error names a policy, else of our credential. One that is
/// compressed or too long to be read is the client's to judge.
async fn forbidden(response: Response<Body>) -> Result<Response<Body>, ApiError> {
    if response.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let error = match Beginning::of(body, LONGEST_ERROR).await.map_err(|_| refused(&head))? {
        Beginning::Whole(error) => error,
        Beginning::Longer(body) => return Ok(Response::from_parts(head, body)),
    };
    let text = String::from_utf8_lossy(&error).to_lowercase();
    if !POLICY.iter().any(|word| text.contains(word)) {
        return Err(refused(&head));
    }
    Ok(Response::from_parts(head, Body::from(error)))
}

/// What the client is told in place of an answer with this `head`.
fn refused(head: &Parts) -> ApiError {
    let text = "the provider of the model refused the gateway's credential";
    ApiError::new(StatusCode::BAD_GATEWAY, "provider_refused", text).in_place_of(Replaced::of(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_403_is_ours_unless_it_names_a_policy_or_is_too_long_to_be_judged() {
        for (error, is_ours) in [
            ("{\"error\":{\"message\":\"no access\"}}".to_owned(), true),
            ("x".repeat(LONGEST_ERROR), true),
            ("x".repeat(LONGEST_ERROR + 1), false),
            ("{\"error\":{\"code\":\"content_filter\"}}".to_owned(), false),
        ] {
            let mut response = Response::new(Body::from(error.clone()));
            *response.status_mut() = StatusCode::FORBIDDEN;
            let judged = of_credential(response).await;
            assert_eq!(judged.is_err(), is_ours, "{} bytes", error.len());
            if let Ok(response) = judged {
                let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
                assert!(body == error.as_bytes(), "the error passes whole");
            }
        }
    }
}
