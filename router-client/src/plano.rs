//! Another gateway decides.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use affinity_layer::{BoxError, ModelName, RouteDecision, RouteName, RouteRequest};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::Full;
use serde::Deserialize;
use tower_service::Service;

use crate::endpoint::Endpoint;
use crate::object::Object;
use crate::{ErrorKind, RouterError};

/// Most candidates that are kept of an answer.
const MAX_CANDIDATES: usize = 32;

/// Asks the decision API of another gateway: `POST {url}/routing/v1/` and then
/// `chat/completions`, `messages` or `responses`, as the client's path ends; any other path counts as
/// `chat/completions`.
///
/// 1. The client's body is sent whole and unchanged, including preferences inside it.
/// 2. `x-request-id` and the trace context (`traceparent`, `tracestate`) go with it. The session
///    and the tenant do not, so the other gateway pins nothing: the pin is made on this side. Nor
///    do the client's credentials.
/// 3. Both forms of answer are understood, `{"models":[..],"route"}` and `{"model","route"}`.
///    Entries that name no model (`"none"`, `""`, `null`, or bytes that a model name cannot have)
///    are dropped, and at most 32 candidates are kept. With none left, no route matched.
///
/// It has no limits of its own on time, retries and concurrency: see
/// [`RouterClient`](crate::RouterClient).
///
/// ```
/// use affinity_layer::RouteRequest;
/// use router_client::PlanoRouter;
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # // Another gateway.
/// # let app = axum::Router::new().fallback(|| async { axum::Json(serde_json::json!({
/// #     "models": ["openai/gpt-4o", "openai/gpt-4o-mini"], "route": "code"
/// # })) });
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let url = format!("http://{}", listener.local_addr()?).parse()?;
/// # tokio::spawn(async { axum::serve(listener, app).await });
/// // `url` is the address of the gateway, for example http://localhost:12000
/// let router = PlanoRouter::new(url);
///
/// let (parts, ()) = http::Request::post("/v1/chat/completions").body(())?.into_parts();
/// let decision = router.oneshot(RouteRequest::new(parts, "{}".into())).await?;
/// assert_eq!(decision.models.len(), 2);
/// assert_eq!(decision.route.unwrap().as_str(), "code");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PlanoRouter {
    endpoint: Result<Endpoint, RouterError>,
}

impl PlanoRouter {
    /// Asks the gateway at `url`, for example `http://localhost:12000`.
    ///
    /// A URL that is not absolute, is neither http nor https, or holds credentials makes every
    /// call fail with [`ErrorKind::Config`].
    #[must_use]
    pub fn new(url: Uri) -> Self {
        Self { endpoint: Endpoint::new(url) }
    }

    /// Sends its requests by `client` instead of one of its own: through a proxy, over a Unix socket, with
    /// certificates to trust, with headers of yours.
    ///
    /// ```
    /// use hyper_util::client::legacy::{Client, connect::HttpConnector};
    /// use hyper_util::rt::TokioExecutor;
    /// use router_client::PlanoRouter;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut connector = HttpConnector::new();
    /// connector.set_connect_timeout(Some(Duration::from_millis(200)));
    /// let client = Client::builder(TokioExecutor::new()).build(connector);
    /// let url = "http://gateway.example:12000".parse()?;
    /// let router = PlanoRouter::new(url).client(client);
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
        let path = routing_path(request.parts.uri.path());
        let endpoint = self.endpoint?;
        let answer = endpoint.post(path, &request.parts.headers, request.body).await?;
        decision(&answer)
    }
}

impl fmt::Debug for PlanoRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanoRouter").finish_non_exhaustive()
    }
}

impl Service<RouteRequest> for PlanoRouter {
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

fn routing_path(path: &str) -> &'static str {
    if path.ends_with("/messages") {
        "/routing/v1/messages"
    } else if path.ends_with("/responses") {
        "/routing/v1/responses"
    } else {
        "/routing/v1/chat/completions"
    }
}

pub(crate) fn decision(answer: &[u8]) -> Result<RouteDecision, RouterError> {
    #[derive(Deserialize)]
    struct Ranked {
        models: Vec<Option<String>>,
        route: Option<String>,
    }
    /// The first generation. `model` may be null, but a shape without it is something else.
    #[derive(Deserialize)]
    struct Single {
        #[serde(deserialize_with = "Option::deserialize")]
        model: Option<String>,
        route: Option<String>,
    }

    let Object(Ranked { models, route }) = serde_json::from_slice(answer)
        .or_else(|_| {
            let Object(Single { model, route }) = serde_json::from_slice(answer)?;
            Ok(Object(Ranked { models: vec![model], route }))
        })
        .map_err(|_: serde_json::Error| {
            RouterError::new(ErrorKind::Malformed).with_source("the answer names no models")
        })?;
    let is_named = |model: &String| !model.is_empty() && model != "none";
    let named: Vec<_> = models.into_iter().flatten().filter(is_named).collect();
    if named.is_empty() {
        return Ok(RouteDecision::none());
    }
    let models = named.iter().filter_map(|model| ModelName::new(model).ok());
    let decision = RouteDecision::new(models.take(MAX_CANDIDATES));
    if decision.models.is_empty() {
        // It did decide, for something that is not a model.
        let error = RouterError::new(ErrorKind::Malformed);
        return Err(error.with_source("the answer names models that cannot be"));
    }
    Ok(match route.and_then(|route| RouteName::new(&route).ok()) {
        Some(route) => decision.with_route(route),
        None => decision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(answer: &str) -> Option<(Vec<String>, Option<String>)> {
        let decision = decision(answer.as_bytes()).ok()?;
        let models = decision.models.iter().map(ToString::to_string).collect();
        Some((models, decision.route.map(|route| route.to_string())))
    }

    #[test]
    fn both_generations_of_answers_are_understood() {
        let none: (Vec<String>, Option<String>) = (vec![], None);
        let some = |models: &[&str], route: Option<&str>| {
            (models.iter().map(ToString::to_string).collect(), route.map(ToOwned::to_owned))
        };
        for (answer, expected) in [
            (r#"{"models":["a/b","c/d"],"route":"r"}"#, some(&["a/b", "c/d"], Some("r"))),
            (r#"{"models":["a/b"],"model":"x","route":null}"#, some(&["a/b"], None)),
            (r#"{"models":["a/b"],"trace_id":"0","pinned":false}"#, some(&["a/b"], None)),
            (r#"{"model":"a/b","route":"it's"}"#, some(&["a/b"], Some("it's"))),
            (r#"{"model":"a/b","route":"bad\n"}"#, some(&["a/b"], None)),
            (r#"{"models":["none",null,"","a\r\nb","gpt-é","a/b"]}"#, some(&["a/b"], None)),
            (r#"{"models":["none"],"route":"r"}"#, none.clone()),
            (r#"{"models":[]}"#, none.clone()),
            (r#"{"model":null,"route":null}"#, none.clone()),
            (r#"{"model":"none"}"#, none.clone()),
            (r#"{"model":""}"#, none.clone()),
        ] {
            assert_eq!(shown(answer), Some(expected), "{answer}");
        }
    }

    #[test]
    fn anything_else_is_no_decision() {
        for answer in [
            "",
            "{}",
            "[]",
            "null",
            "\"a/b\"",
            "<html>",
            "{\"models\":\"a/b\"}",
            "[[\"a/b\"],\"r\"]",
            "[\"a/b\",\"r\"]",
            "{\"models\":[1]}",
            "{\"route\":\"r\"}",
            "{\"model\":7}",
            "{\"error\":{\"message\":\"busy\"}}",
            "{\"model\":\"a/b\\r\\nx-evil: 1\"}",
            "{\"models\":[\"a/\u{e9}\"]}",
        ] {
            assert_eq!(shown(answer), None, "{answer}");
        }
    }

    #[test]
    fn a_long_list_is_cut() {
        let models: Vec<String> = (0..1000).map(|n| format!("m/{n}")).collect();
        let answer = serde_json::json!({"models": models}).to_string();
        assert_eq!(shown(&answer).unwrap().0, models[..32]);
    }

    #[test]
    fn the_path_follows_the_protocol() {
        for (path, expected) in [
            ("/v1/messages", "/routing/v1/messages"),
            ("/v1/responses", "/routing/v1/responses"),
            ("/v1/chat/completions", "/routing/v1/chat/completions"),
            ("/routing/v1/messages", "/routing/v1/messages"),
            ("/", "/routing/v1/chat/completions"),
        ] {
            assert_eq!(routing_path(path), expected, "{path}");
        }
    }
}
