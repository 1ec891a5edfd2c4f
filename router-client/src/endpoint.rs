//! One HTTP exchange with a router: what is sent, how much is read, what its failures are called.
//!
//! 1. A request is a POST of JSON with the headers of [`PASSED_ON`] and, if there is one, the
//!    router's own credential. The credentials of a client never leave the process here.
//! 2. At most 64 KiB of an answer are read, so that a broken router costs no memory.
//! 3. Redirects are not followed: the credential would go with them.

use affinity_layer::BoxError;
use bytes::Bytes;
use http::uri::Scheme;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use crate::{ErrorKind, RouterError, span};

/// Longest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// The headers of a client's request that are passed on. Credentials, session and tenant are not.
const PASSED_ON: [HeaderName; 3] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The base URL of a router and the connections to it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    base: Uri,
    client: HttpClient,
    authorization: Option<HeaderValue>,
}

/// How an endpoint took a request that it understood.
pub(crate) enum Exchange {
    /// With 200 and this body.
    Answered(Bytes),
    /// With a 400 or 422, and what it says of it; empty where that cannot be read.
    Refused(StatusCode, Bytes),
}

/// The error for a status that is not an answer.
pub(crate) fn refused(status: StatusCode) -> RouterError {
    RouterError::new(ErrorKind::Status(status.as_u16()))
}

/// Sends a request, by whatever connections.
type HttpClient = BoxCloneSyncService<Request<Full<Bytes>>, Response<Answer>, RouterError>;

type Answer = UnsyncBoxBody<Bytes, RouterError>;

impl Endpoint {
    /// An endpoint at `base`, to which nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] unless `base` is an absolute http or https URL without credentials, and when the system's
    /// certificates cannot be read.
    pub(crate) fn new(base: Uri) -> Result<Self, RouterError> {
        let authority = base.authority().ok_or_else(|| config("the URL is not absolute"))?;
        if authority.as_str().contains('@') {
            // They would not be sent, and a URL finds its way into logs.
            return Err(config("the URL holds credentials"));
        }
        // Reading the system's certificates takes time and memory, so a plain URL goes without them.
        let client = match base.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => boxed(client(connector())),
            Some(scheme) if *scheme == Scheme::HTTPS => boxed(client(tls_connector()?)),
            _ => return Err(config("the URL is neither http nor https")),
        };
        Ok(Self { base, client, authorization: None })
    }

    /// Sends its requests by `client`.
    pub(crate) fn with_client<S, B>(self, client: S) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self { client: boxed(client), ..self }
    }

    /// Sends `secret` as the bearer token of every request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when a header cannot hold `secret`.
    pub(crate) fn with_bearer(mut self, secret: &str) -> Result<Self, RouterError> {
        let value = HeaderValue::try_from(format!("Bearer {secret}"));
        let mut value = value.map_err(|_| config("a header cannot hold the credential"))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Posts `body` as JSON to `path` below the base URL and reads the answer, at most
    /// [`ANSWER_LIMIT`] bytes of it. Of the client's headers, [`PASSED_ON`] go with it.
    pub(crate) async fn post(
        &self,
        path: &str,
        client: &HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, RouterError> {
        match self.exchange(path, client, body).await? {
            Exchange::Answered(body) => Ok(body),
            Exchange::Refused(status, _) => Err(refused(status)),
        }
    }

    /// As [`post`](Self::post), and returns the answer to a refused question.
    pub(crate) async fn exchange(
        &self,
        path: &str,
        client: &HeaderMap,
        body: Bytes,
    ) -> Result<Exchange, RouterError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = join(&self.base, path).map_err(config)?;
        *request.headers_mut() = self.headers(client);
        span::asked(&self.base, request.uri().path());
        let response = self.client.clone().oneshot(request).await?;
        let status = response.status();
        span::answered(status);
        match status {
            StatusCode::OK => read(response.into_body()).await.map(Exchange::Answered),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                let body = read(response.into_body()).await.unwrap_or_default();
                Ok(Exchange::Refused(status, body))
            }
            _ => Err(refused(status)),
        }
    }

    fn headers(&self, client: &HeaderMap) -> HeaderMap {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, json.clone());
        headers.insert(header::CONTENT_TYPE, json);
        for name in PASSED_ON {
            for value in client.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if let Some(value) = &self.authorization {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        headers
    }
}

async fn read(body: Answer) -> Result<Bytes, RouterError> {
    if body.size_hint().lower() > ANSWER_LIMIT as u64 {
        return Err(RouterError::new(ErrorKind::TooLarge));
    }
    match Limited::new(body, ANSWER_LIMIT).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(RouterError::new(ErrorKind::TooLarge)),
        Err(error) => Err(error.downcast().map_or_else(connect, |error| *error)),
    }
}

/// `path` below the path of `base`; a query of `base` is kept.
fn join(base: &Uri, path: &str) -> Result<Uri, http::Error> {
    let prefix = base.path().trim_end_matches('/');
    let query = base.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(format!("{prefix}{path}{query}").parse()?);
    Ok(Uri::from_parts(parts)?)
}

fn boxed<S, B>(client: S) -> HttpClient
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let client = client.map_err(connect);
    BoxCloneSyncService::new(client.map_response(|response: Response<B>| {
        response.map(|body| body.map_err(connect).boxed_unsync())
    }))
}

fn client<C>(connector: C) -> Client<C, Full<Bytes>>
where
    C: Connect + Clone,
{
    // Without a timer idle connections are never closed.
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector)
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

fn tls_connector() -> Result<HttpsConnector<HttpConnector>, RouterError> {
    let mut http = connector();
    http.enforce_http(false);
    // The provider is explicit, because rustls panics if a dependency brings in a second one and none
    // is chosen.
    let builder = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(config)?;
    Ok(builder.https_only().enable_all_versions().wrap_connector(http))
}

fn config(source: impl Into<BoxError>) -> RouterError {
    RouterError::new(ErrorKind::Config).with_source(source)
}

fn connect(source: impl Into<BoxError>) -> RouterError {
    RouterError::new(ErrorKind::Connect).with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_is_put_below_the_base() {
        for (base, joined) in [
            ("http://h", "http://h/chat"),
            ("http://h/", "http://h/chat"),
            ("http://h:1/v1", "http://h:1/v1/chat"),
            ("https://h/v1/?api-version=2", "https://h/v1/chat?api-version=2"),
        ] {
            assert_eq!(join(&uri(base), "/chat").unwrap(), uri(joined), "{base}");
        }
    }

    #[test]
    fn a_base_is_absolute_http_or_https() {
        for bad in ["/v1", "localhost:8000", "ftp://h/", "http://me:secret@h"] {
            assert_eq!(Endpoint::new(uri(bad)).err().unwrap().kind(), ErrorKind::Config, "{bad}");
        }
        assert!(Endpoint::new(uri("http://h")).is_ok());
    }

    #[test]
    fn a_credential_is_checked_and_marked_as_secret() {
        let endpoint = Endpoint::new(uri("http://h")).unwrap();
        let refused = endpoint.clone().with_bearer("sk-1\r\nx: y").err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Config);
        assert!(!format!("{refused:?}").contains("sk-1"));
        let headers = endpoint.with_bearer("sk-1").unwrap().headers(&HeaderMap::new());
        assert_eq!(headers[header::AUTHORIZATION], "Bearer sk-1");
        assert!(headers[header::AUTHORIZATION].is_sensitive());
    }
}
