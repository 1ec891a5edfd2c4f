//! What it means when a provider refuses a request that went with a credential of our own.
//!
//! The client can mend neither our key nor our configuration, so such a refusal is a failure of the
//! candidate and not an answer to the client. A refusal for what this one request may cost says nothing of
//! the credential: otherwise one client's `max_tokens` would take its models from all others.

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

/// What shows in a 402 that this request may cost more than is left, where a smaller one would be served.
/// Compared in lower case. OpenRouter says so, and so do gateways that reserve the price beforehand.
const COSTS_TOO_MUCH: [&str; 5] = [
    "fewer max_tokens",
    "can only afford",
    "tokens limit exceeded",
    "token_limit_exceeded",
    "weight_exceeds_budget",
];

/// What shows in such a 402 that nothing at all is left.
const NOTHING_LEFT: &str = "can only afford 0";

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
        StatusCode::UNAUTHORIZED => Err(refused(&response.into_parts().0)),
        StatusCode::PAYMENT_REQUIRED => Err(unpaid(response).await),
        StatusCode::FORBIDDEN => forbidden(response).await,
        _ => Ok(response),
    }
}

/// A 402 speaks of this request where its error names what the request may cost, else of our credential.
/// One that is compressed or too long to be read is taken to speak of the credential.
async fn unpaid(response: Response<Body>) -> ApiError {
    let (head, body) = response.into_parts();
    if head.headers.contains_key(header::CONTENT_ENCODING) {
        return refused(&head);
    }
    let Ok(Beginning::Whole(error)) = Beginning::of(body, LONGEST_ERROR).await else {
        return refused(&head);
    };
    let text = String::from_utf8_lossy(&error).to_lowercase();
    if text.contains(NOTHING_LEFT) || !COSTS_TOO_MUCH.iter().any(|words| text.contains(words)) {
        return refused(&head);
    }
    let text = "the gateway's account at the provider does not cover what this request may cost; \
                ask for fewer tokens";
    ApiError::new(StatusCode::BAD_GATEWAY, "provider_refused", text).lasting()
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
    use axum::body::to_bytes;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_402_speaks_of_the_credential_unless_a_smaller_request_would_be_served() {
        let openrouter = |affordable: u32| {
            format!(
                r#"{{"error":{{"message":"This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford {affordable}. To increase, visit https://openrouter.ai/settings/credits","code":402}}}}"#
            )
        };
        for (error, cools) in [
            (openrouter(30_104), false),
            (openrouter(0), true),
            (
                r#"{"error":{"message":"Prompt tokens limit exceeded: 230799 > 91442."}}"#.into(),
                false,
            ),
            (r#"{"error":{"metadata":{"error_type":"weight_exceeds_budget"}}}"#.into(), false),
            // DeepSeek, Anthropic.
            (r#"{"error":{"message":"Insufficient Balance","type":"unknown_error"}}"#.into(), true),
            (r#"{"type":"error","error":{"type":"billing_error","message":"x"}}"#.into(), true),
            (String::new(), true),
            (format!("fewer max_tokens{}", " ".repeat(LONGEST_ERROR)), true),
        ] {
            let mut response = Response::new(Body::from(error.clone()));
            *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
            let told = of_credential(response)
                .await
                .unwrap_err()
                .response(crate::protocol::Protocol::Chat);
            assert_eq!(told.status(), StatusCode::BAD_GATEWAY);
            assert_eq!(told.headers()["x-should-retry"], "false");
            assert!(told.extensions().get::<LastingFailure>().is_some());
            let replaced = told.extensions().get::<Replaced>();
            assert_eq!(replaced.is_some(), cools, "{error}");
            let body = told.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(body.contains("fewer tokens"), !cools, "{body}");
        }
    }

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
                let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
                assert!(body == error.as_bytes(), "the error passes whole");
            }
        }
    }
}
