//! The layer below the affinity layer: it puts the model into the body.

use std::task::{Context, Poll};

use http::{HeaderValue, Request, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::checked::{CheckedBody, ModelBody};
use crate::{BoxError, ModelName, PinnedModel};

/// Layer that replaces the top-level `model` of a [`CheckedBody`] by the model of the request.
///
/// It belongs below every layer that may choose another model, so below a
/// [`FailoverLayer`](crate::FailoverLayer), too. The name that is sent is the model's own, unless
/// [`named`](Self::named) says how the provider calls it. `content-length` is set to the new length.
///
/// See the [module docs](super).
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct ModelBodyLayer {
    name: Option<fn(&ModelName) -> &str>,
}

impl ModelBodyLayer {
    /// Sends the names as they are.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the provider calls a model.
    ///
    /// ```
    /// use affinity_layer::{ModelName, body::ModelBodyLayer};
    ///
    /// // `openai/gpt-4o` is `gpt-4o` at OpenAI.
    /// let layer = ModelBodyLayer::new().named(|model: &ModelName| {
    ///     model.as_str().split_once('/').map_or(model.as_str(), |(_, id)| id)
    /// });
    /// # let _ = layer;
    /// ```
    pub fn named(self, name: fn(&ModelName) -> &str) -> Self {
        Self { name: Some(name) }
    }
}

impl<S> Layer<S> for ModelBodyLayer {
    type Service = ReplaceModel<S>;

    fn layer(&self, inner: S) -> ReplaceModel<S> {
        ReplaceModel { inner, layer: *self }
    }
}

/// Middleware of a [`ModelBodyLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ReplaceModel<S> {
    inner: S,
    layer: ModelBodyLayer,
}

impl<S, B> Service<Request<CheckedBody<B>>> for ReplaceModel<S>
where
    S: Service<Request<ModelBody<B>>>,
    B: Body<Data = bytes::Bytes, Error: Into<BoxError>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<CheckedBody<B>>) -> S::Future {
        let (mut parts, body) = request.into_parts();
        let is_whole = body.json().is_some();
        let model = parts.extensions.get::<PinnedModel>().map(PinnedModel::model);
        let name = model.map(|model| self.layer.name.map_or(model.as_str(), |name| name(model)));
        let body = body.into_sent(name);
        if let Some(length) = body.size_hint().exact().filter(|_| is_whole) {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        self.inner.call(Request::from_parts(parts, body))
    }
}
