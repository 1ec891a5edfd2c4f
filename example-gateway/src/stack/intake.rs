//! The outermost part of the stack: a request becomes one that the rest can rely on.
//!
//! 1. The body is JSON, whole, within the limits of size and time, and inflated if it was compressed.
//! 2. The model that it asks for is one that is served, and stands in the extensions as
//!    [`RequestedModel`], by its configured name; for `auto` it is the default, with [`AnyModel`].
//! 3. Inline `routing_preferences` are checked, and stand there as [`Preferences`].
//! 4. What the body tells of its session stands there, where it is asked for, and which kinds of
//!    [`Inputs`](crate::config::Inputs) it holds; one that starts a job in the background is marked
//!    [`SendOnce`], and one that must stay with its vendor [`Bound`](affinity_layer::ext::Bound).
//! 5. The provider that has the files, containers and conversations that the body names stands there as
//!    [`HeldAt`](crate::extensions::HeldAt), and the response that it follows as [`Follows`].
//! 6. The body goes on as an [`Envelope`], which knows where the proxy has to cut it.

mod arrival;
mod coding;
mod pieces;

use std::convert::Infallible;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use affinity_layer::{
    ModelName,
    body::BodyError,
    ext::{AnyModel, FallbackModel, MidTurn, NewTurn, RequestedModel, RoutingHints, SendOnce},
    key::BodyIds,
};
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, header};
use router_client::{Preference, Preferences, opens_user_turn};
use tower::{Layer, Service};
use tracing::Span;

pub(crate) use self::arrival::collect;
use self::arrival::{check_type, collect_inflated};
use self::coding::Coding;
use self::pieces::Arrived;
use crate::body::Envelope;
use crate::config::{Limits, OnMove};
use crate::error::ApiError;
use crate::extensions::{BodyBytes, Client, Follows};
use crate::protocol::Protocol;
use crate::stack::apart::{apart, of_client};
use crate::stack::heal::Healer;
use crate::stack::holdings::Holdings;
use crate::stack::memory::BodyMemory;
use crate::upstream::providers::{Requested, Upstreams};

/// Of inline preferences: the bytes of their text, their number, the bytes of all names and descriptions
/// (a routing model is sent them all), and the models of one (a pin keeps them).
const MAX_PREFERENCES_TEXT: usize = 64 * 1024;
const MAX_PREFERENCES: usize = 100;
const MAX_WORDS: usize = 8192;
const MAX_MODELS: usize = 16;

/// Layer that applies [`Intake`].
#[derive(Clone, Debug)]
pub(crate) struct IntakeLayer {
    upstreams: Arc<Upstreams>,
    /// For a body at most what the memory has room for.
    limits: Limits,
    memory: BodyMemory,
    deciding: bool,
    turns: Turns,
    body_ids: bool,
    holdings: Holdings,
    on_move: OnMove,
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

/// What a body tells.
struct Understood {
    envelope: Envelope,
    /// Those that come with the request.
    preferences: Option<(Preferences, RoutingHints)>,
    /// Whether it opens a turn of the user, where that is asked for.
    opens_turn: bool,
    /// What it tells of its session, where that is asked for.
    ids: Option<BodyIds>,
    /// The objects that it names, where it matters who has them.
    references: Vec<String>,
}

impl IntakeLayer {
    /// For requests to a model; each must name one.
    pub(crate) fn new(
        upstreams: Arc<Upstreams>,
        limits: Limits,
        memory: BodyMemory,
        holdings: Holdings,
    ) -> Self {
        let body_bytes = limits.body_bytes.min(memory.largest_body());
        let limits = Limits { body_bytes, ..limits };
        let turns = Turns::Unmarked;
        Self {
            upstreams,
            limits,
            memory,
            deciding: false,
            turns,
            body_ids: false,
            holdings,
            on_move: OnMove::default(),
        }
    }

    /// For requests that go to no model: a body without `model` means `auto`.
    pub(crate) fn deciding(self) -> Self {
        Self { deciding: true, ..self }
    }

    /// Puts what the body tells of its session into the extensions.
    pub(crate) fn body_ids(self, read: bool) -> Self {
        Self { body_ids: read, ..self }
    }

    /// What becomes of sessions that hold what only their vendor can read.
    pub(crate) fn on_move(self, on_move: OnMove) -> Self {
        Self { on_move, ..self }
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
        let arrived = self.collect(coding, parts, body).await?;
        self.holdings.tenants().mark(parts);
        let (settings, path) = (self.clone(), parts.uri.path().to_owned());
        let understood = apart(arrived.len(), move || settings.understand(&path, arrived.join()));
        let Understood { envelope, preferences, opens_turn, ids, references } =
            understood.await.map_err(|_| ApiError::internal())??;
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
        if let Some((preferences, hints)) = preferences {
            parts.extensions.insert(preferences);
            parts.extensions.insert(hints);
        }
        match (self.turns, opens_turn) {
            (Turns::MarkNew, true) => drop(parts.extensions.insert(NewTurn)),
            (Turns::MarkOthers, false) => drop(parts.extensions.insert(MidTurn)),
            _ => {}
        }
        if let Some(ids) = ids {
            // A decision has no id that a later request could continue.
            parts.extensions.insert(if self.deciding { ids.not_kept() } else { ids });
        }
        parts.extensions.insert(envelope.inputs());
        self.locate(parts, &envelope, &references).await;
        if let Some(bound) = Healer::bound(&envelope, self.on_move) {
            parts.extensions.insert(bound);
        }
        let length = u64::try_from(envelope.bytes().len()).unwrap_or(u64::MAX);
        parts.extensions.insert(BodyBytes(length));
        if envelope.is_background() {
            // Two providers would do the job, and the client would know of one.
            parts.extensions.insert(SendOnce);
        }
        Ok(envelope)
    }

    /// Marks a request with the provider that has what it names, where that matters.
    async fn locate(&self, parts: &mut Parts, envelope: &Envelope, references: &[String]) {
        if !self.holdings.matter() {
            return;
        }
        self.holdings.mark(parts, references).await;
        if let Some(id) = envelope.follows() {
            parts.extensions.insert(Follows(id));
        }
        // A compressed answer could not be read for what it leaves behind.
        if Protocol::of(parts.uri.path()) != Protocol::Chat {
            parts.headers.remove(header::ACCEPT_ENCODING);
        }
    }

    /// The body of a request that is not routed.
    ///
    /// # Errors
    ///
    /// As for any other body: it is JSON, within the limits, and nothing in it can be read in two ways.
    pub(crate) async fn envelope(
        &self,
        parts: &mut Parts,
        body: Body,
    ) -> Result<Envelope, ApiError> {
        let coding = check_type(&parts.headers, true)?;
        let arrived = self.collect(coding, parts, body).await?;
        let client = parts.extensions.get().copied().unwrap_or(Client::Unknown);
        let parsed = apart(arrived.len(), move || Envelope::parse(arrived.join()));
        Ok(of_client(client, parsed).await.map_err(|_| ApiError::internal())??)
    }

    /// All of `body`, inflated, within the limits of size, time and memory.
    async fn collect<B>(
        &self,
        coding: Option<Coding>,
        parts: &mut Parts,
        body: B,
    ) -> Result<Arrived, ApiError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        let held = self.memory.hold(&parts.extensions);
        let arrived = collect_inflated(coding, body, &self.limits, held).await?;
        // It goes on as it is now.
        parts.headers.remove(header::CONTENT_ENCODING);
        Ok(arrived)
    }

    /// All that takes longer the longer the body is.
    fn understand(&self, path: &str, bytes: Bytes) -> Result<Understood, ApiError> {
        let envelope = Envelope::parse(bytes)?;
        let preferences = envelope.preferences().map(|text| self.preferences(text)).transpose()?;
        let is_marked = !matches!(self.turns, Turns::Unmarked);
        let opens_turn = is_marked && opens_user_turn(path, envelope.bytes());
        // `metadata` may be most of the body.
        let ids = self.body_ids.then(|| envelope.session_ids());
        let is_asked = self.holdings.matter();
        let references = if is_asked { envelope.references() } else { Vec::new() };
        Ok(Understood { envelope, preferences, opens_turn, ids, references })
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
        self.upstreams.requested(&name).ok_or_else(ApiError::no_model)
    }

    /// Inline preferences, and the digest by which a repeated request is known to bring the same.
    fn preferences(&self, text: &[u8]) -> Result<(Preferences, RoutingHints), ApiError> {
        let invalid = |text: &'static str| {
            ApiError::invalid("invalid_routing_preferences", text).param("routing_preferences")
        };
        // Before it is parsed: many short entries take ten times the memory of their text.
        if text.len() > MAX_PREFERENCES_TEXT {
            return Err(invalid("routing_preferences must not have more than 65536 bytes"));
        }
        let mut preferences: Vec<Preference> = serde_json::from_slice(text).map_err(|_| {
            invalid("routing_preferences must be a list of {name, description, models}")
        })?;
        if preferences.len() > MAX_PREFERENCES {
            return Err(invalid("routing_preferences must not have more than 100 entries"));
        }
        let words = preferences.iter().map(|preference| {
            preference.name.as_str().len().saturating_add(preference.description.len())
        });
        if words.sum::<usize>() > MAX_WORDS {
            let text = "the names and descriptions of routing_preferences must not have more than 8192 bytes";
            return Err(invalid(text));
        }
        for preference in &mut preferences {
            if preference.models.len() > MAX_MODELS {
                return Err(invalid("a routing preference may name 16 models"));
            }
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
        let mut digest = DefaultHasher::new();
        text.hash(&mut digest);
        Ok((Preferences::new(preferences), RoutingHints(digest.finish())))
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let refused = Self::invalid(error.code(), error.to_string());
        match error.member() {
            Some(name) => refused.param(name),
            None => refused,
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
        let client = request.extensions().get().copied().unwrap_or(Client::Unknown);
        let serving = async move {
            let (mut parts, body) = request.into_parts();
            match settings.read(&mut parts, body).await {
                Ok(body) => inner.call(Request::from_parts(parts, body)).await,
                Err(error) => {
                    tracing::debug!(?error, "request refused");
                    Ok(error.response(Protocol::of(parts.uri.path())))
                }
            }
        };
        Box::pin(of_client(client, serving))
    }
}
