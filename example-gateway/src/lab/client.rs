//! A small client of a gateway, as a program outside would call it.
//!
//! `demo`, `verify` and `report` call gateways through it and see only what an answer says, never the insides
//! of a gateway in the same process. Time and size of an answer are bounded.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::lab::balance::REPLICA;
use crate::lab::term::clean;

/// Time for one answer, from the connection to the last byte.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Largest answer, in bytes.
const BODY_LIMIT: usize = 8 << 20;

/// Path of the chat completions endpoint.
const CHAT: &str = "/v1/chat/completions";

/// Calls one gateway. Clones share its connections.
#[derive(Clone, Debug)]
pub struct GatewayClient {
    http: Http,
    endpoint: Uri,
}

impl GatewayClient {
    /// A client of the gateway at `url`, for example `http://127.0.0.1:12000`; a path `/v1` or
    /// that of the endpoint may follow.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`] when it is not an `http` URL.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let base = url.trim_end_matches('/');
        let base = base.strip_suffix(CHAT).or_else(|| base.strip_suffix("/v1")).unwrap_or(base);
        let endpoint =
            format!("{base}{CHAT}").parse::<Uri>().map_err(|_| ClientError::Url(clean(url)))?;
        let has_host = endpoint.host().is_some_and(|host| !host.is_empty());
        if endpoint.scheme_str() != Some("http") || !has_host {
            return Err(ClientError::Url(clean(url)));
        }
        Ok(Self { http: http(), endpoint })
    }

    /// The URL that is called.
    #[must_use]
    pub fn endpoint(&self) -> &Uri {
        &self.endpoint
    }

    /// Posts a chat completion with `headers` in addition to the usual ones.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when there is no answer within 120 s, it is larger than 8 MiB, not JSON, or
    /// of another status than 200.
    pub async fn chat(&self, headers: &HeaderMap, body: &Value) -> Result<Answer, ClientError> {
        let mut request = Request::new(Full::from(body.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = headers.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let (parts, body) = exchange(&self.http, request).await?;
        let body = serde_json::from_slice(&body)
            .map_err(|_| ClientError::Body("it is not JSON".to_owned()))?;
        Ok(Answer { headers: parts.headers, body })
    }
}

/// The body at `url`, an `http` URL, which is asked for with a bearer token.
///
/// # Errors
///
/// [`ClientError`] when there is no answer within 120 s, it is larger than 8 MiB, or of another status
/// than 200, and for a token that a header cannot hold.
pub async fn get(url: &str, token: &SecretString) -> Result<Bytes, ClientError> {
    let bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
    let mut bearer = bearer.map_err(|_| ClientError::Token)?;
    bearer.set_sensitive(true);
    let target = url.parse::<Uri>().ok().filter(|url| url.scheme_str() == Some("http"));
    let mut request = Request::new(Full::default());
    *request.uri_mut() = target.ok_or_else(|| ClientError::Url(clean(url)))?;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    exchange(&http(), request).await.map(|(_, body)| body)
}

type Http = Client<HttpConnector, Full<Bytes>>;

fn http() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(5)));
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Sends a request, and reads its answer if it is one of status 200.
async fn exchange(
    http: &Http,
    request: Request<Full<Bytes>>,
) -> Result<(Parts, Bytes), ClientError> {
    let url = request.uri().clone();
    let answer = async {
        let response = http.request(request).await;
        let response =
            response.map_err(|error| ClientError::Connection(url.clone(), Box::new(error)))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await;
        let body = body.map_err(|error| ClientError::Body(error.to_string()))?.to_bytes();
        match parts.status {
            StatusCode::OK => Ok((parts, body)),
            status => Err(ClientError::Status(status, body)),
        }
    };
    let answer = tokio::time::timeout(TIMEOUT, answer).await;
    answer.map_err(|_| ClientError::Timeout(url.clone()))?
}

/// An answer with status 200.
#[derive(Debug)]
pub struct Answer {
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The chat completion.
    pub body: Value,
}

impl Answer {
    /// The model that the body names.
    #[must_use]
    pub fn body_model(&self) -> String {
        clean(self.body.get("model").and_then(Value::as_str).unwrap_or("(none)"))
    }

    /// The model that the gateway selected, from `x-plano-model`; from the body of a gateway that
    /// does not say.
    #[must_use]
    pub fn model(&self) -> String {
        let header = self.headers.get("x-plano-model").and_then(|value| value.to_str().ok());
        header.map_or_else(|| self.body_model(), clean)
    }

    /// Which of several replicas answered, when the load balancer before them says so.
    #[must_use]
    pub fn replica(&self) -> Option<String> {
        self.headers.get(REPLICA).and_then(|value| value.to_str().ok()).map(clean)
    }

    /// Whether the gateway says that the model came from a pin; `None` when it does not say.
    #[must_use]
    pub fn pinned(&self) -> Option<bool> {
        self.headers.get("x-plano-pinned").map(|value| value == "true")
    }
}

/// Why there is no usable answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is not one of a gateway.
    Url(String),
    /// The token has characters that no header can have.
    Token,
    /// The gateway cannot be reached, or broke the connection.
    Connection(Uri, Box<legacy::Error>),
    /// No answer in time.
    Timeout(Uri),
    /// The answer's body cannot be used.
    Body(String),
    /// The answer's status is not 200. Holds the body.
    Status(StatusCode, Bytes),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => {
                write!(f, "{url:?} is not an http URL such as http://localhost:12000")
            }
            Self::Token => f.write_str("the token has characters that no header can have"),
            Self::Connection(url, error) if error.is_connect() => {
                write!(f, "cannot connect to {url}; is the gateway running?")
            }
            Self::Connection(url, _) => write!(f, "the connection to {url} broke"),
            Self::Timeout(url) => write!(f, "no answer from {url} within {} s", TIMEOUT.as_secs()),
            Self::Body(why) => write!(f, "the answer cannot be used: {why}"),
            Self::Status(status, body) => {
                let body = serde_json::from_slice::<Value>(body).unwrap_or_default();
                let message = body.pointer("/error/message").and_then(Value::as_str);
                write!(
                    f,
                    "the gateway answered {status}: {}",
                    clean(message.unwrap_or("no message"))
                )
            }
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connection(_, error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_named_by_its_base_or_its_endpoint() {
        for url in ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/chat/completions"]
        {
            let client = GatewayClient::new(url).unwrap();
            assert_eq!(client.endpoint(), "http://h:1/v1/chat/completions", "{url}");
        }
        for url in ["", "h:1", "https://h", "ftp://h", "http://", "http://a b"] {
            assert!(matches!(GatewayClient::new(url), Err(ClientError::Url(_))), "{url}");
        }
    }
}
