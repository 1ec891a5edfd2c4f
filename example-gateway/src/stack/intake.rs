//! The outermost part of the stack: a request becomes one that the rest can rely on.
//!
//! 1. The body is JSON, whole, within the limits of size and time, and inflated if it was compressed.
//! 2. The model that it asks for is one that is served, and stands in the extensions as
//!    [`RequestedModel`], by its configured name; for `auto` it is the default, with [`AnyModel`].
//! 3. Inline `routing_preferences` are checked, and stand there as [`Preferences`].
//! 4. What the body tells of its session stands there, where it is asked for, and which kinds of
//!    [`Inputs`](crate::config::Inputs) it holds.
//! 5. The body goes on as an [`Envelope`], which knows where the proxy has to cut it.

mod arrival;
mod coding;

use std::convert::Infallible;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use affinity_layer::{
    ModelName,
    ext::{AnyModel, FallbackModel, MidTurn, NewTurn, RequestedModel},
};
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode, header};
use router_client::{Preference, Preferences, opens_user_turn};
use tower::{Layer, Service};
use tracing::Span;

pub(crate) use self::arrival::collect;
use self::arrival::{check_type, collect_inflated};
use crate::body::{BodyError, Envelope, Fault};
use crate::config::Limits;
use crate::error::ApiError;
use crate::protocol::Protocol;
use crate::upstream::providers::{Requested, Upstreams};

/// Bodies beyond this many bytes take a millisecond to check, or many where they are made to.
const LONG: usize = 1 << 20;

/// Layer that applies [`Intake`].
#[derive(Clone, Debug)]
pub(crate) struct IntakeLayer {
    upstreams: Arc<Upstreams>,
    limits: Limits,
    deciding: bool,
    turns: Turns,
    body_ids: bool,
}

/// Which requests are marked by their place in a turn of the user.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turns {
    Unmarked,
    /// Those that open one, with [`NewTurn`].
    MarkNew,
    /// Those that do not, with [`MidTurn`].
    MarkOthers,
}

impl IntakeLayer {
    /// For requests to a model; each must name one.
    pub(crate) fn new(upstreams: Arc<Upstreams>, limits: Limits) -> Self {
        Self { upstreams, limits, deciding: false, turns: Turns::Unmarked, body_ids: false }
    }

    /// For requests that go to no model: a body without `model` means `auto`.
    pub(crate) fn deciding(self) -> Self {
        Self { deciding: true, ..self }
    }

    /// Puts what the body tells of its session into the extensions.
    pub(crate) fn body_ids(self, read: bool) -> Self {
        Self { body_ids: read, ..self }
    }

    /// Marks requests by their place in a turn of the user.
    #[must_use]
    pub(crate) fn turns(self, turns: Turns) -> Self {
        Self { turns, ..self }
    }

    async fn read<B>(&self, parts: &mut Parts, body: B) -> Result<Envelope, ApiError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        let coding = check_type(&parts.headers, !body.is_end_stream())?;
        if !self.upstreams.have(Protocol::of(parts.uri.path())) {
            let text = "no provider here speaks the protocol of this path";
            return Err(ApiError::invalid("protocol_not_supported", text));
        }
        let envelope = envelope(collect_inflated(coding, body, &self.limits).await?).await?;
        // It goes on as it is now.
        parts.headers.remove(header::CONTENT_ENCODING);
        let requested = self.requested(&envelope)?;
        if requested == Requested::Auto {
            parts.extensions.insert(AnyModel);
        }
        if let Some(model) = self.named_or_default(requested) {
            Span::current().record("gen_ai.request.model", model.as_str());
            if self.upstreams.drains().holds(&model) {
                let instead = self.upstreams.in_place_of(Some(&model), parts);
                parts.extensions.insert(FallbackModel(instead));
            }
            parts.extensions.insert(RequestedModel(model));
        }
        if let Some(text) = envelope.preferences() {
            parts.extensions.insert(self.preferences(text)?);
        }
        self.mark(parts, envelope.bytes());
        if self.body_ids {
            let ids = envelope.session_ids();
            // A decision has no id that a later request could continue.
            parts.extensions.insert(if self.deciding { ids.not_kept() } else { ids });
        }
        parts.extensions.insert(envelope.inputs());
        Ok(envelope)
    }

    fn mark(&self, parts: &mut Parts, body: &[u8]) {
        let opens = |parts: &Parts| opens_user_turn(parts.uri.path(), body);
        match self.turns {
            Turns::MarkNew if opens(parts) => drop(parts.extensions.insert(NewTurn)),
            Turns::MarkOthers if !opens(parts) => drop(parts.extensions.insert(MidTurn)),
            _ => {}
        }
    }

    fn named_or_default(&self, requested: Requested) -> Option<ModelName> {
        match requested {
            Requested::Model(model) => Some(model),
            Requested::Auto => self.upstreams.default_model().cloned(),
        }
    }

    fn requested(&self, envelope: &Envelope) -> Result<Requested, ApiError> {
        let name = match envelope.model() {
            Some(name) => name,
            None if self.deciding && !envelope.has_model() => "auto".into(),
            None => {
                let text = "the body needs a model, as a string that is not empty";
                return Err(ApiError::invalid("missing_model", text).param("model"));
            }
        };
        self.upstreams.requested(&name).ok_or_else(|| {
            let text = "this model is not served here; GET /v1/models lists those that are";
            let error = ApiError::new(StatusCode::NOT_FOUND, "model_not_found", text);
            error.param("model")
        })
    }

    fn preferences(&self, text: &[u8]) -> Result<Preferences, ApiError> {
        let invalid = |text: &'static str| {
            ApiError::invalid("invalid_routing_preferences", text).param("routing_preferences")
        };
        let mut preferences: Vec<Preference> = serde_json::from_slice(text).map_err(|_| {
            invalid("routing_preferences must be a list of {name, description, models}")
        })?;
        for preference in &mut preferences {
            if preference.models.is_empty() {
                return Err(invalid("a routing preference must name at least one model"));
            }
            for model in &mut preference.models {
                match self.upstreams.requested(model.as_str()) {
                    Some(Requested::Model(served)) => *model = served,
                    _ => return Err(invalid("a routing preference names a model not served here")),
                }
            }
        }
        Ok(Preferences::new(preferences))
    }
}

/// Checks a body; a long one apart from the thread that serves other clients meanwhile.
async fn envelope(body: Bytes) -> Result<Envelope, ApiError> {
    if body.len() <= LONG {
        return Ok(Envelope::parse(body)?);
    }
    let parsed = tokio::task::spawn_blocking(|| Envelope::parse(body)).await;
    Ok(parsed.map_err(|_| ApiError::internal())??)
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Utf8 => Self::invalid("invalid_json", "the body is not UTF-8"),
            BodyError::Syntax { fault, line, column } => {
                let what = match fault {
                    Fault::Json => "the body is not JSON",
                    Fault::Nesting => "the body nests lists and objects in more than 127 levels",
                    Fault::Number => "the body has a number that is out of range",
                    Fault::ByteOrderMark => "the body begins with a byte order mark; leave it out",
                };
                Self::invalid("invalid_json", format!("{what}: line {line}, column {column}"))
            }
            BodyError::Type => Self::invalid("invalid_json_type", "the body must be a JSON object"),
            BodyError::Value(name) => {
                let text = format!("{name} has a value that it cannot have");
                Self::invalid("invalid_value", text).param(name)
            }
            BodyError::Disguised(name) => {
                let text =
                    format!("the body has a key that may be read as {name}: write it {name}");
                Self::invalid("ambiguous_key", text).param(name)
            }
            BodyError::Duplicate(name) => {
                let text = format!("the body has the key {name} twice");
                Self::invalid("duplicate_key", text).param(name)
            }
        }
    }
}

impl<S> Layer<S> for IntakeLayer {
    type Service = Intake<S>;

    fn layer(&self, inner: S) -> Intake<S> {
        Intake { inner, settings: self.clone() }
    }
}

/// Middleware that reads and checks a body; see the [module docs](self).
#[derive(Clone, Debug)]
pub(crate) struct Intake<S> {
    inner: S,
    settings: IntakeLayer,
}

impl<S> Service<Request<Body>> for Intake<S>
where
    S: Service<Request<Envelope>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone stays behind; the service that is ready now takes the request.
        let standby = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, standby);
        let settings = self.settings.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match settings.read(&mut parts, body).await {
                Ok(body) => inner.call(Request::from_parts(parts, body)).await,
                Err(error) => {
                    tracing::debug!(?error, "request refused");
                    Ok(error.response(Protocol::of(parts.uri.path())))
                }
            }
        })
    }
}
