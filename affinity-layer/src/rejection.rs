//! Refusals: requests that the layer answers itself.
//!
//! A middleware that returns errors forces an error type on the whole stack, and someone has to turn it
//! into a response in the end. So a refusal is a response from the start. It has a status, a code for
//! programs and a text for people, and the [`Rejection`] is in its extensions for the layers outside.
//!
//! Only what a client can change is refused, with two exceptions, both 503: too many requests that wait for
//! one session, and a store that is required and fails. The router's failures are never refusals.
//!
//! [`OpenAiErrors`] is the default shape. A gateway that speaks more protocols passes a function to
//! [`AffinityLayer::with_rejection_response`](crate::AffinityLayer::with_rejection_response).

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use serde_json::json;

#[cfg(feature = "axum")]
pub use crate::extractor::MissingPinnedModel;
use crate::key::InvalidPart;

/// Why a request was refused. It is also put into the extensions of the response, so that a layer outside
/// need not parse the body to log or count it.
///
/// ```
/// use affinity_layer::{AffinityLayer, BoxError, MemoryStore, Rejection, RouteDecision, RouteRequest};
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let router = service_fn(|_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) });
/// let handler = service_fn(|_: Request<Full<Bytes>>| async {
///     Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
/// });
/// let app = AffinityLayer::new(MemoryStore::default(), router).layer(handler);
///
/// let request = Request::post("/").header("x-model-affinity", "two words").body(Full::from("{}"))?;
/// let response = app.oneshot(request).await?;
/// let rejection = response.extensions().get::<Rejection>().ok_or("it was not refused")?;
/// assert_eq!((rejection.status().as_u16(), rejection.code()), (400, "invalid_session_id"));
/// assert_eq!(rejection.to_string(), "the session id may hold visible ASCII only, and no comma");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The session header is present but not usable: 400 `invalid_session_id`.
    InvalidSessionId(InvalidPart),
    /// A tenant header is configured and the request has none: 400 `missing_scope`.
    MissingScope,
    /// The tenant header is present but not usable: 400 `invalid_scope`.
    InvalidScope(InvalidPart),
    /// The [control header](crate::headers::HeaderNames::affinity) has a value that is not known: 400 `invalid_affinity_control`.
    InvalidControl,
    /// The body is larger than may be held for routing: 413 `request_too_large`. Holds the limit in
    /// bytes.
    BodyTooLarge(usize),
    /// The body could not be read to its end: 400 `invalid_body`.
    InvalidBody,
    /// Too many requests of the session wait for its first decision: 503 `overloaded`, with
    /// `retry-after: 1`.
    Overloaded,
    /// The store did not answer and the layer is strict about it: 503 `store_unavailable`.
    StoreUnavailable,
}

impl Rejection {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Overloaded | Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether it is for the session that a request names, and not for the request itself.
    pub(crate) fn is_of_session(&self) -> bool {
        matches!(
            self,
            Self::InvalidSessionId(_)
                | Self::MissingScope
                | Self::InvalidScope(_)
                | Self::StoreUnavailable
        )
    }

    /// The machine-readable code of the answer.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidSessionId(_) => "invalid_session_id",
            Self::MissingScope => "missing_scope",
            Self::InvalidScope(_) => "invalid_scope",
            Self::InvalidControl => "invalid_affinity_control",
            Self::BodyTooLarge(_) => "request_too_large",
            Self::InvalidBody => "invalid_body",
            Self::Overloaded => "overloaded",
            Self::StoreUnavailable => "store_unavailable",
        }
    }
}

impl fmt::Display for Rejection {
    /// For the client: it names the rule and never the value that broke it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSessionId(why) => write!(f, "the session id {why}"),
            Self::MissingScope => f.write_str("a session id needs the tenant header too"),
            Self::InvalidScope(why) => write!(f, "the tenant {why}"),
            Self::InvalidControl => {
                f.write_str("the affinity control takes one of: bypass, refresh, final")
            }
            Self::BodyTooLarge(limit) => write!(f, "the body is larger than {limit} bytes"),
            Self::InvalidBody => f.write_str("the body could not be read to its end"),
            Self::Overloaded => f.write_str("too many requests of this session wait for its model"),
            Self::StoreUnavailable => f.write_str("the session store does not answer"),
        }
    }
}

impl std::error::Error for Rejection {}

/// Makes the response for a refused request.
///
/// Implemented for every `Fn(&Rejection, &Parts) -> Response<B> + Clone`, so you can pass a closure
/// to [`AffinityLayer::with_rejection_response`](crate::AffinityLayer::with_rejection_response).
///
/// ```
/// use affinity_layer::rejection::{Rejection, ResponseForRejection};
/// use http::{Request, Response, request::Parts};
///
/// let plain = |rejection: &Rejection, _: &Parts| {
///     let mut response = Response::new(rejection.to_string());
///     *response.status_mut() = rejection.status();
///     response
/// };
/// let (parts, ()) = Request::new(()).into_parts();
/// let response = plain.response_for_rejection(&Rejection::InvalidControl, &parts);
/// assert_eq!(response.status(), 400);
/// assert!(response.body().starts_with("the affinity control takes one of"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot make a refusal whose body is of type `{B}`",
    label = "the body of the responses below the affinity layer is not `From<Bytes>`",
    note = "a layer below, such as `TraceLayer` or `CompressionLayer`, or the client there has a response body \
            of its own: put `tower_http::map_response_body::MapResponseBodyLayer::new(axum::body::Body::new)` \
            right below the affinity layer, between the two",
    note = "or make the response yourself, with `AffinityLayer::with_rejection_response`"
)]
pub trait ResponseForRejection<B>: Clone {
    /// Makes the response; `parts` are those of the refused request.
    ///
    /// # Behavior
    ///
    /// - It is called once for each refused request, and must not block.
    /// - It may use any status; [`Rejection::status`] is the one that fits.
    /// - Our headers and the rejection's extension are added to whatever it returns.
    /// - The layer's own headers have been removed from `parts`. Session ids have not: do not repeat them.
    fn response_for_rejection(&self, rejection: &Rejection, parts: &Parts) -> Response<B>;
}

#[diagnostic::do_not_recommend]
impl<F, B> ResponseForRejection<B> for F
where
    F: Fn(&Rejection, &Parts) -> Response<B> + Clone,
{
    fn response_for_rejection(&self, rejection: &Rejection, parts: &Parts) -> Response<B> {
        self(rejection, parts)
    }
}

/// The default: errors in the shape of the OpenAI API,
/// `{"error":{"message","type","param","code"}}`.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct OpenAiErrors;

#[diagnostic::do_not_recommend]
impl<B: From<Bytes>> ResponseForRejection<B> for OpenAiErrors {
    fn response_for_rejection(&self, rejection: &Rejection, _: &Parts) -> Response<B> {
        let status = rejection.status();
        let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let error = json!({"error": {
            "message": rejection.to_string(),
            "type": kind,
            "param": null,
            "code": rejection.code(),
        }});
        let mut response = Response::new(B::from(Bytes::from(error.to_string())));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if *rejection == Rejection::Overloaded {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
