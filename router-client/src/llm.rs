//! A routing model decides.

pub(crate) mod answer;
mod format;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use affinity_layer::{RouteDecision, RouteRequest};
use http::Uri;
use serde_json::json;
use tower_service::Service;
use tracing::Span;

pub use format::PromptFormat;

use crate::prompt::{newest_first, within};
use crate::wire::Endpoint;
use crate::{Preferences, RouterError};

/// Enough for the longest route name in JSON.
const MAX_ANSWER_TOKENS: u32 = 128;

/// Asks a model behind an OpenAI-compatible endpoint which route fits the conversation.
///
/// 1. The question is one user message, `POST {url}/chat/completions`, not streamed. It holds the
///    routes and the newest messages of the conversation, within the token budget of the
///    [`PromptFormat`].
/// 2. `x-request-id` and the trace context (`traceparent`, `tracestate`) of the client's request go
///    with it, its credentials never.
/// 3. The answer is JSON, `{"route": "name"}` or `{"route": ["name", ..]}`, of which the first
///    counts. A name that is no configured route (`other`, `none`, the empty string, null, an empty
///    list) means that no route matched.
/// 4. Prose, an empty answer and any other shape are [`ErrorKind::Malformed`], never a decision.
/// 5. Without routes or without any text in the conversation the model is not asked, and no route
///    matches.
///
/// It has no limits of its own on time, retries and concurrency: see
/// [`RouterClient`](crate::RouterClient).
///
/// [`ErrorKind::Malformed`]: crate::ErrorKind::Malformed
#[derive(Clone)]
pub struct LlmRouter {
    endpoint: Result<Endpoint, RouterError>,
    model: Arc<str>,
    format: PromptFormat,
    preferences: Preferences,
}

impl LlmRouter {
    /// Asks `model` at `url`, for example `http://localhost:8000/v1`. The format of the prompt is
    /// [chosen by the model's name](PromptFormat::for_model).
    ///
    /// A URL that is not absolute, is neither http nor https, or holds credentials makes every
    /// call fail with [`ErrorKind::Config`](crate::ErrorKind::Config).
    #[must_use]
    pub fn new(url: Uri, model: &str, preferences: Preferences) -> Self {
        Self {
            endpoint: Endpoint::new(url),
            model: model.into(),
            format: PromptFormat::for_model(model),
            preferences,
        }
    }

    /// Sends `secret` as the bearer token of every question.
    ///
    /// A secret that cannot stand in a header makes every call fail with
    /// [`ErrorKind::Config`](crate::ErrorKind::Config).
    #[must_use]
    pub fn bearer(mut self, secret: &str) -> Self {
        self.endpoint = self.endpoint.and_then(|endpoint| endpoint.with_bearer(secret));
        self
    }

    /// Sets the format of the prompt.
    #[must_use]
    pub fn format(mut self, format: PromptFormat) -> Self {
        self.format = format;
        self
    }

    async fn decide(self, request: RouteRequest) -> Result<RouteDecision, RouterError> {
        let preferences = self.preferences.or_inline(&request);
        let endpoint = self.endpoint?;
        let Some(prompt) = prompt(self.format, preferences, &request) else {
            return Ok(RouteDecision::none());
        };
        Span::current().record("gen_ai.request.model", &*self.model);
        let question = json!({
            "model": &*self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0.01,
            "max_tokens": MAX_ANSWER_TOKENS,
            "stream": false,
        });
        let headers = &request.parts.headers;
        let body = question.to_string().into();
        let completion = endpoint.post("/chat/completions", headers, body).await?;
        answer::decision(&completion, preferences)
    }
}

/// The question to the model; `None` when there is nothing to ask.
fn prompt(
    format: PromptFormat,
    preferences: &Preferences,
    request: &RouteRequest,
) -> Option<String> {
    if preferences.is_empty() {
        return None;
    }
    let routes = format.routes(preferences);
    let messages = newest_first(request.parts.uri.path(), &request.body);
    let messages = within(messages, format.conversation_budget(&routes));
    (!messages.is_empty()).then(|| format.prompt(&routes, &messages))
}

impl fmt::Debug for LlmRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmRouter")
            .field("model", &self.model)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Service<RouteRequest> for LlmRouter {
    type Response = RouteDecision;
    type Error = RouterError;
    type Future = Pin<Box<dyn Future<Output = Result<RouteDecision, RouterError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RouterError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RouteRequest) -> Self::Future {
        Box::pin(self.clone().decide(request))
    }
}
