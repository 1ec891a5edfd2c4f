//! The service: the body is read and checked, in one boxed future.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use pin_project_lite::pin_project;
use serde_json::json;
use tower_service::Service;

use super::check_layer::CheckBodyLayer;
use super::checked::CheckedBody;
use super::error::BodyRefusal;
use super::json_body::JsonBody;
use super::media::{MediaError, check_media};
use crate::BoxError;
use crate::rejection::OpenAiErrors;

/// Middleware of a [`CheckBodyLayer`].
#[derive(Clone)]
#[must_use]
pub struct CheckBody<S, Rej> {
    pub(super) inner: S,
    pub(super) settings: CheckBodyLayer<Rej>,
}

impl<S: fmt::Debug, Rej> fmt::Debug for CheckBody<S, Rej> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckBody")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish()
    }
}

impl<S, Rej, B, ResBody> Service<Request<B>> for CheckBody<S, Rej>
where
    S: Service<Request<CheckedBody<B>>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    Rej: ResponseForRefusal<ResBody> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    ResBody: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CheckBodyFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let is_checked = match &self.settings.checks {
            Some(checks) => checks(&parts),
            None => parts.method == Method::POST,
        };
        if !is_checked {
            let passing = Request::from_parts(parts, CheckedBody::passing(body));
            return CheckBodyFuture { kind: Kind::Passing { inner: self.inner.call(passing) } };
        }
        // The clone stays behind; the service that is ready now takes the request.
        let standby = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, standby);
        let (limit, refuse) = (self.settings.limit, self.settings.refuse.clone());
        let checked = async move {
            match check(&parts, body, limit).await {
                Ok(body) => inner.call(Request::from_parts(parts, CheckedBody::whole(body))).await,
                Err(refusal) => {
                    tracing::debug!(code = refusal.code(), "request refused");
                    let mut response = refuse.response_for_refusal(&refusal, &parts);
                    response.extensions_mut().insert(refusal);
                    Ok(response)
                }
            }
        };
        CheckBodyFuture { kind: Kind::Checking { inner: Box::pin(checked) } }
    }
}

/// Reads a body whole and checks it, the cheapest things first.
async fn check<B>(parts: &Parts, body: B, limit: usize) -> Result<JsonBody, BodyRefusal>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    match check_media(&parts.headers, !body.is_end_stream()).map_err(BodyRefusal::Media)? {
        None => {}
        Some(coding) if coding.eq_ignore_ascii_case("identity") => {}
        Some(_) => return Err(BodyRefusal::Media(MediaError::Encoding)),
    }
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(BodyRefusal::TooLarge(limit));
    }
    let read = Limited::new(body, limit).collect().await.map_err(|error| {
        let is_long = error.is::<LengthLimitError>();
        if is_long { BodyRefusal::TooLarge(limit) } else { BodyRefusal::Broken }
    })?;
    JsonBody::parse(read.to_bytes()).map_err(BodyRefusal::Content)
}

/// Makes the response to a refused request. Implemented for
/// `Fn(&BodyRefusal, &Parts) -> Response<B> + Clone` and for [`OpenAiErrors`].
pub trait ResponseForRefusal<B>: Clone {
    /// Makes the response; `parts` are those of the refused request. Do not repeat what it holds.
    fn response_for_refusal(&self, refusal: &BodyRefusal, parts: &Parts) -> Response<B>;
}

impl<F, B> ResponseForRefusal<B> for F
where
    F: Fn(&BodyRefusal, &Parts) -> Response<B> + Clone,
{
    fn response_for_refusal(&self, refusal: &BodyRefusal, parts: &Parts) -> Response<B> {
        self(refusal, parts)
    }
}

impl<B: From<Bytes>> ResponseForRefusal<B> for OpenAiErrors {
    fn response_for_refusal(&self, refusal: &BodyRefusal, _: &Parts) -> Response<B> {
        let error = json!({"error": {
            "message": refusal.to_string(),
            "type": "invalid_request_error",
            "param": refusal.member(),
            "code": refusal.code(),
        }});
        let mut response = Response::new(B::from(Bytes::from(error.to_string())));
        *response.status_mut() = refusal.status();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

type Boxed<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

pin_project! {
    /// Response future of [`CheckBody`].
    pub struct CheckBodyFuture<F, B, E> {
        #[pin]
        kind: Kind<F, B, E>,
    }
}

pin_project! {
    #[project = KindProj]
    /// How the request goes on; behind a public struct, so that it can change.
    enum Kind<F, B, E> {
        Passing { #[pin] inner: F },
        Checking { inner: Boxed<B, E> },
    }
}

impl<F, B, E> Future for CheckBodyFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Passing { inner } => inner.poll(cx),
            KindProj::Checking { inner } => inner.as_mut().poll(cx),
        }
    }
}
