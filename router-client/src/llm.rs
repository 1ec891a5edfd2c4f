//! A routing model decides.

pub(crate) mod answer;
mod dialect;
mod format;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use affinity_layer::{BoxError, RouteDecision, RouteRequest};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::Full;
use tower_service::Service;
use tracing::Span;

pub use format::PromptFormat;

use crate::conversation::{newest_first, within};
use crate::endpoint::{Endpoint, Exchange, refused};
use crate::{Preferences, RouterError};
use dialect::Dialect;

/// Asks a model behind an OpenAI-compatible endpoint which route fits the conversation.
///
/// 1. The question is one user message, `POST {url}/chat/completions`, not streamed. It holds the
///    routes and the newest messages of the conversation, within the token budget of the
///    [`PromptFormat`].
/// 2. `x-request-id` and the trace context (`traceparent`, `tracestate`) of the client's request go
///    with it, its credentials never.
/// 3. Routes take up at most 4 KiB of the question, 8 KiB for Plano-Orchestrator: long descriptions
///    are shortened, and routes that do not fit even so are left out, the last ones first.
/// 4. The answer ends in JSON, `{"route": "name"}` or `{"route": ["name", ..]}`, of which the first
///    counts. Thoughts and prose may come before it, special tokens after it. A name that is no
///    configured route (`other`, `none`, the empty string, null, an empty list) means that no route
///    matched.
/// 5. Prose alone, an empty answer and any other shape are [`ErrorKind::Malformed`], never a
///    decision.
/// 6. `max_tokens` and `temperature` are sent until the model refuses them: it is asked again
///    without what its 400 or 422 names, and with `max_completion_tokens` in place of `max_tokens`.
///    A model whose thoughts use up the limit of 128 tokens is asked again with 4,096. Clones of
///    this router remember what the model took. Reasoning takes time: give it more than the two
///    seconds that [`RouterClient`](crate::RouterClient) waits by default.
/// 7. Without routes or without any text in the conversation the model is not asked, and no route
///    matches.
///
/// It has no limits of its own on time, retries and concurrency: see
/// [`RouterClient`](crate::RouterClient).
///
/// ```
/// use affinity_layer::{ModelName, RouteName, RouteRequest};
/// use router_client::{LlmRouter, Preference, Preferences, RouterClient};
/// use std::time::Duration;
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # // A routing model that thinks before it answers.
/// # let app = axum::Router::new().fallback(|| async { axum::Json(serde_json::json!({
/// #     "choices": [{"message": {"content": "<think>Code?</think>{\"route\": \"code\"}"}}]
/// # })) });
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let url = format!("http://{}", listener.local_addr()?).parse()?;
/// # tokio::spawn(async { axum::serve(listener, app).await });
/// let preferences = Preferences::new([Preference::new(
///     RouteName::new("code")?,
///     "writing functions and tests",
///     [ModelName::new("anthropic/claude-opus-4-8")?],
/// )]);
/// // `url` is the base address, for example http://localhost:8000/v1
/// let model = LlmRouter::new(url, "Arch-Router", preferences).bearer("router-key");
/// let router = RouterClient::builder(model).timeout(Duration::from_secs(10)).build();
///
/// let (parts, ()) = http::Request::post("/v1/chat/completions").body(())?.into_parts();
/// let body = r#"{"messages": [{"role": "user", "content": "Write a sort function"}]}"#;
/// let decision = router.oneshot(RouteRequest::new(parts, body.into())).await?;
/// assert_eq!(decision.models[0].as_str(), "anthropic/claude-opus-4-8");
/// # Ok(())
/// # }
/// ```
///
/// [`ErrorKind::Malformed`]: crate::ErrorKind::Malformed
#[derive(Clone)]
pub struct LlmRouter {
    endpoint: Result<Endpoint, RouterError>,
    model: Arc<str>,
    format: PromptFormat,
    preferences: Preferences,
    /// How the model took the last question that it took.
    dialect: Arc<Mutex<Dialect>>,
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
            dialect: Arc::default(),
        }
    }

    /// Sends `secret` as the bearer token of every question.
    ///
    /// A secret that a header cannot hold makes every call fail with
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

    /// Sends its requests by `client` instead of one of its own: through a proxy, over a Unix socket, with
    /// certificates to trust, with headers of yours.
    ///
    /// ```
    /// use hyper_util::client::legacy::{Client, connect::HttpConnector};
    /// use hyper_util::rt::TokioExecutor;
    /// use router_client::{LlmRouter, Preferences};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut connector = HttpConnector::new();
    /// connector.set_connect_timeout(Some(Duration::from_millis(200)));
    /// let client = Client::builder(TokioExecutor::new()).build(connector);
    /// let url = "http://router.example/v1".parse()?;
    /// let router = LlmRouter::new(url, "Arch-Router", Preferences::default()).client(client);
    /// # let _ = router;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn client<S, B>(mut self, client: S) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.endpoint = self.endpoint.map(|endpoint| endpoint.with_client(client));
        self
    }

    async fn decide(self, request: RouteRequest) -> Result<RouteDecision, RouterError> {
        let preferences = self.preferences.or_inline(&request);
        let endpoint = self.endpoint?;
        let Some(prompt) = prompt(self.format, preferences, &request) else {
            return Ok(RouteDecision::none());
        };
        Span::current().record("gen_ai.request.model", &*self.model);
        let mut dialect = *self.dialect.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let body = dialect.question(&self.model, &prompt).into();
            let headers = &request.parts.headers;
            let (error, next) = match endpoint.exchange("/chat/completions", headers, body).await? {
                Exchange::Answered(completion) => {
                    *self.dialect.lock().unwrap_or_else(PoisonError::into_inner) = dialect;
                    match answer::decision(&completion, preferences) {
                        Ok(decision) => return Ok(decision),
                        Err(why) if why.cut_off => (why.into(), dialect.with_room_to_think()),
                        Err(why) => return Err(why.into()),
                    }
                }
                Exchange::Refused(status, body) => (refused(status), dialect.after(&body)),
            };
            // Each dialect asks for less or gives more room than the one before it, so this ends.
            dialect = next.ok_or(error)?;
            tracing::debug!(
                model = &*self.model,
                ?dialect,
                "the routing model is asked another way"
            );
        }
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
