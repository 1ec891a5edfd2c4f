//! Requests that no session decides. They are sent on as they are, to the one provider that can serve them,
//! and read and make no pin.
//!
//! | request | goes to |
//! |---|---|
//! | a response that is fetched, cancelled or deleted | the provider that made it |
//! | any other `POST` with a JSON body that names a configured model | the provider of that model |
//! | what names no model in JSON, by any method | the provider that `passthrough` names |
//!
//! 1. A path is taken only if every server reads it in the same way: one with dots, or with an escaped slash,
//!    could be another path for the provider than for us.
//! 2. JSON is read and checked as the bodies of all requests are. Anything else passes while it arrives, in
//!    both directions, within the limits of an [`Upload`].
//! 3. Where tenants are told apart, a tenant reaches only what it made, and no list: a list is that of the
//!    whole account.
//! 4. What a provider made is noted before its client learns the id, so that a later request for it, or one
//!    that names it, finds its provider.

mod made;
mod rules;

use std::convert::Infallible;
use std::sync::Arc;

use affinity_layer::body::is_json;
use affinity_layer::headers::{AFFINITY_HEADER, MODEL_HEADER, PINNED_HEADER};
use affinity_layer::{ModelName, Scope};
use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::Body as _;

use self::rules::{Access, access, shows_ids};
use crate::body::{Bounds, Outgoing, Upload};
use crate::config::Limits;
use crate::error::ApiError;
use crate::paths::{Served, is_plain};
use crate::protocol::Shape;
use crate::stack::answers::{no_path, no_websocket};
use crate::stack::holdings::Holdings;
use crate::stack::intake::IntakeLayer;
use crate::upstream::providers::{Requested, Upstreams};
use crate::upstream::proxy::Proxy;

/// Serves what no session decides. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Unrouted(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    upstreams: Arc<Upstreams>,
    proxy: Proxy,
    intake: IntakeLayer,
    holdings: Holdings,
    limits: Limits,
    served: Served,
}

/// A provider, and the model for which it is asked.
type Holder = (usize, ModelName);

impl Unrouted {
    pub(crate) fn new(
        upstreams: Arc<Upstreams>,
        proxy: Proxy,
        intake: IntakeLayer,
        holdings: Holdings,
        limits: Limits,
        served: Served,
    ) -> Self {
        Self(Arc::new(Shared { upstreams, proxy, intake, holdings, limits, served }))
    }

    /// The answer to a request for a response, below `/v1/responses/`.
    pub(crate) async fn response(
        self,
        request: Request<Body>,
    ) -> Result<Response<Body>, Infallible> {
        let (mut parts, body) = request.into_parts();
        let shape = Shape::of(parts.uri.path(), &parts.headers);
        let answer = self.0.response(&mut parts, body).await;
        Ok(answer.unwrap_or_else(|error| error.response(shape)))
    }

    /// The answer to a request for any other path below `/v1/`.
    pub(crate) async fn rest(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let (mut parts, body) = request.into_parts();
        let shape = Shape::of(parts.uri.path(), &parts.headers);
        let upgrade = parts.headers.get(header::UPGRADE).map(HeaderValue::as_bytes);
        if upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
            return Ok(no_websocket(&parts.uri, &parts.headers));
        }
        let answer = self.0.rest(&mut parts, body).await;
        Ok(answer.unwrap_or_else(|error| error.response(shape)))
    }
}

impl Shared {
    async fn response(&self, parts: &mut Parts, body: Body) -> Result<Response<Body>, ApiError> {
        is_plain(parts.uri.path()).then_some(()).ok_or_else(ambiguous)?;
        let scope =
            self.holdings.tenants().of(parts).map_err(|refused| ApiError::from(&refused))?;
        let below = parts.uri.path().strip_prefix("/v1/responses/").unwrap_or_default();
        let id = below.split('/').next().unwrap_or_default().to_owned();
        let holder = self.holdings.of_response(scope.as_ref(), &id).await?;
        let holder = holder.ok_or_else(unknown_response)?;
        // A cancellation has no body worth the name.
        let bounds = Bounds { bytes: 64 * 1024, patience: self.limits.body_timeout };
        let body = Outgoing::Passing(Box::new(Upload::new(body, bounds)));
        self.forward(holder, parts, body, true).await
    }

    async fn rest(&self, parts: &mut Parts, body: Body) -> Result<Response<Body>, ApiError> {
        let path = parts.uri.path();
        is_plain(path).then_some(()).ok_or_else(ambiguous)?;
        if let Some(meant) = self.served.slip(path) {
            return Err(no_path(Some(meant)));
        }
        let has_body = body.size_hint().exact() != Some(0) && !body.is_end_stream();
        if parts.method != Method::POST || !has_body || !is_json(&parts.headers) {
            let bytes = self.limits.upload_bytes as u64;
            if body.size_hint().lower() > bytes {
                let text = format!("the upload is larger than {bytes} bytes (upload_bytes)");
                return Err(ApiError::too_large(text));
            }
            let bounds = Bounds { bytes, patience: self.limits.body_timeout };
            let body = match has_body {
                true => Outgoing::Passing(Box::new(Upload::new(body, bounds))),
                false => Outgoing::default(),
            };
            return self.pass_through(parts, body).await;
        }
        let envelope = self.intake.envelope(parts, body).await?;
        if !envelope.has_model() {
            // Nothing in it is ours.
            return self.pass_through(parts, Outgoing::Whole(envelope.for_model(""))).await;
        }
        let Some(name) = envelope.model() else {
            let text = "model must be a string that is not empty";
            return Err(ApiError::invalid("invalid_value", text).param("model"));
        };
        let model = match self.upstreams.requested(&name).ok_or_else(ApiError::no_model)? {
            Requested::Model(model) => model,
            Requested::Auto => return Err(not_routed()),
        };
        let place = self.upstreams.holder(&model).ok_or_else(ApiError::internal)?;
        let scope = match self.access(parts) {
            Access::Open => None,
            _ => self.scope_within(parts)?,
        };
        // What lives at one vendor is not asked of another, where an id may be someone else's.
        let held = self.reached(parts, scope.as_ref()).await?;
        let is_at = |at| self.upstreams.vendor_at(at) == self.upstreams.vendor_at(place);
        if scope.is_some() && held.is_some_and(|(at, _)| !is_at(at)) {
            return Err(unknown_object());
        }
        let provider = self.upstreams.provider(&model).ok_or_else(ApiError::internal)?;
        let body = Outgoing::Whole(envelope.for_model(provider.upstream_id(&model)));
        self.forward_noted((place, model), parts, body, true, scope.as_ref()).await
    }

    /// To the provider that `passthrough` names.
    async fn pass_through(
        &self,
        parts: &mut Parts,
        body: Outgoing,
    ) -> Result<Response<Body>, ApiError> {
        let path = parts.uri.path();
        let Some(place) = self.upstreams.passthrough() else {
            return Err(self.no_passthrough(path));
        };
        let scope = self.scope_within(parts)?;
        let holder = self.reached(parts, scope.as_ref()).await?;
        let provider = self.upstreams.providers().get(place).ok_or_else(ApiError::internal)?;
        let holder = holder.unwrap_or_else(|| (place, provider.model.clone()));
        self.forward_noted(holder, parts, body, false, scope.as_ref()).await
    }

    fn access<'a>(&self, parts: &'a Parts) -> Access<'a> {
        access(&parts.method, parts.uri.path(), self.holdings.tenants().are_told_apart())
    }

    /// The provider that has what a request asks for, if it is known; an error if that is not its client's to
    /// ask for. Where tenants are told apart, a client without a scope reaches what such clients made.
    async fn reached(
        &self,
        parts: &Parts,
        scope: Option<&Scope>,
    ) -> Result<Option<Holder>, ApiError> {
        match self.access(parts) {
            Access::No => Err(no_path(self.served.nearest(parts.uri.path()))),
            Access::List => Err(no_list()),
            Access::Item(id) if self.holdings.tenants().are_told_apart() => {
                let found = self.holdings.find(scope, id).await?;
                found.ok_or_else(unknown_object).map(Some)
            }
            // What the store cannot tell is where everything is uploaded to.
            Access::Item(id) if self.upstreams.have_vendors() => {
                Ok(self.holdings.find(None, id).await.unwrap_or_default())
            }
            Access::Item(_) | Access::Collection | Access::Open => Ok(None),
        }
    }

    /// To one provider. What its answer shows to be made, or to be this tenant's, is noted.
    async fn forward_noted(
        &self,
        holder: Holder,
        parts: &mut Parts,
        body: Outgoing,
        names_model: bool,
        scope: Option<&Scope>,
    ) -> Result<Response<Body>, ApiError> {
        if !self.holdings.matter() || !shows_ids(&parts.method, parts.uri.path()) {
            return self.forward(holder, parts, body, names_model).await;
        }
        parts.headers.remove(header::ACCEPT_ENCODING);
        let model = holder.1.clone();
        let answer = self.forward(holder, parts, body, names_model).await?;
        let (answer, ids) = made::ids(answer).await;
        self.holdings.note(scope, &ids, &model).await;
        Ok(answer)
    }

    /// The tenant, which must be known where tenants are told apart.
    fn scope_within(&self, parts: &Parts) -> Result<Option<Scope>, ApiError> {
        self.holdings.tenants().of(parts).map_err(|refused| ApiError::from(&refused))
    }

    /// To one provider. The answer is its own, with our headers in the place of any that it sends.
    async fn forward(
        &self,
        (place, model): Holder,
        parts: &mut Parts,
        body: Outgoing,
        names_model: bool,
    ) -> Result<Response<Body>, ApiError> {
        without_ours(&mut parts.headers);
        // The provider may have made what it was asked for when its connection broke.
        let is_once = parts.method == Method::POST && !matches!(self.access(parts), Access::Open);
        let mut answer = self.proxy.forward(place, &model, parts.clone(), body, is_once).await?;
        let headers = answer.headers_mut();
        without_ours(headers);
        headers.insert(PINNED_HEADER, HeaderValue::from_static("false"));
        headers.insert(AFFINITY_HEADER, HeaderValue::from_static("none"));
        if names_model && let Ok(name) = HeaderValue::from_str(model.as_str()) {
            headers.insert(MODEL_HEADER, name);
        }
        Ok(answer)
    }

    fn no_passthrough(&self, path: &str) -> ApiError {
        let nearest =
            self.served.nearest(path).map(|nearest| format!("; the nearest path: {nearest}"));
        ApiError::not_found(format!(
            "this path is served only for a JSON body that names a configured model, or by the provider \
             that the key passthrough names, and none is named{}",
            nearest.unwrap_or_default()
        ))
    }
}

/// Removes the headers that only this gateway sets.
fn without_ours(headers: &mut HeaderMap) {
    let ours = headers.keys().filter(|name| name.as_str().starts_with("x-plano-"));
    for name in ours.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

fn ambiguous() -> ApiError {
    let text = "the path has a segment of dots, or an escape that servers read in different ways";
    ApiError::invalid("invalid_path", text)
}

fn not_routed() -> ApiError {
    let text = "requests of this path are not routed: name a model instead of auto";
    ApiError::invalid("not_routed", text).param("model")
}

fn no_list() -> ApiError {
    ApiError::not_found("the provider's account is shared by tenants, so nothing is listed")
}

fn unknown_response() -> ApiError {
    ApiError::not_found(
        "no response with this id was made here in the last 24 hours, so its provider is not known",
    )
}

fn unknown_object() -> ApiError {
    ApiError::not_found("nothing with this id was made here by this tenant in the last 30 days")
}
