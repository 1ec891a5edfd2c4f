//! A client that shows an answer unchanged.

use std::net::SocketAddr;

use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::wire::{Framing, Head, Piece, Wire, field};
use crate::within;

/// A request to be written unchanged.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Bytes,
    is_json: bool,
}

/// A POST of JSON.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "tests hand over what they just made")]
pub fn post(target: &str, body: impl ToString) -> Request {
    let body = Bytes::from(body.to_string());
    let (method, target) = ("POST".to_owned(), target.to_owned());
    Request { method, target, fields: Vec::new(), body, is_json: true }
}

/// A GET.
#[must_use]
pub fn get(target: &str) -> Request {
    Request { is_json: false, ..post(target, "") }.method("GET")
}

impl Request {
    /// With this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// With one more header field; a content type takes the place of that of JSON.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.is_json &= !name.eq_ignore_ascii_case("content-type");
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body of any bytes.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// In a session, by the newest of its headers.
    #[must_use]
    pub fn session(self, id: &str) -> Self {
        self.header("x-model-affinity", id)
    }

    /// The request as it is written.
    #[must_use]
    pub fn wire(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", self.method, self.target);
        if self.is_json {
            head.push_str("content-type: application/json\r\n");
        }
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.method != "GET" {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// A connection to a server, for one request after the other.
#[derive(Debug)]
pub struct Connection {
    /// The socket, for bytes that are not a request.
    pub wire: Wire,
    framing: Framing,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.expect("a connection");
        Self { wire: Wire::new(stream), framing: Framing::UntilClose }
    }

    /// Sends a request and does not wait.
    pub async fn write(&mut self, request: &Request) {
        self.wire.write(&request.wire()).await.expect("the request is taken");
    }

    /// The head of the answer; those of 1xx are passed over.
    pub async fn head(&mut self) -> Head {
        loop {
            let head = self.wire.head().await.expect("an answer");
            if !head.line.contains(" 1") {
                self.framing = head.framing().unwrap_or(Framing::UntilClose);
                return head;
            }
        }
    }

    /// The next part of the answer's body.
    pub async fn piece(&mut self) -> Piece {
        self.wire.piece(&mut self.framing).await
    }

    /// The whole answer.
    pub async fn answer(&mut self) -> Response {
        let head = self.head().await;
        let (body, complete) = self.wire.rest(&mut self.framing).await;
        let status = head.line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.expect("a status");
        Response { status, fields: head.fields, body, complete }
    }

    /// The status of the answer and the `code` of its error, in whichever shape, or nothing; status
    /// 0 when the connection ends without an answer.
    pub async fn told(&mut self) -> (u16, String) {
        let Some(head) = self.wire.head().await else { return (0, String::new()) };
        self.framing = head.framing().unwrap_or(Framing::UntilClose);
        let (body, _) = self.wire.rest(&mut self.framing).await;
        let status = head.line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let code = ["/error/code", "/error/type"].iter().find_map(|path| body.pointer(path));
        (status.expect("a status"), code.and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, request: &Request) -> Response {
        self.write(request).await;
        self.answer().await
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub fields: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Whether the body ended as its framing foresees.
    pub complete: bool,
}

impl Response {
    /// The only value of a field.
    ///
    /// # Panics
    ///
    /// When the field occurs twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} twice: {values:?}");
        values.first().copied()
    }

    /// All values of a field.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        field(&self.fields, name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not one.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// `x-plano-pinned`, `x-plano-affinity` and `x-plano-model`, a dash for one that is not there.
    #[must_use]
    pub fn affinity(&self) -> (&str, &str, &str) {
        let value = |name| self.header(name).unwrap_or("-");
        (value("x-plano-pinned"), value("x-plano-affinity"), value("x-plano-model"))
    }

    /// The status and `error.code` of a refusal in OpenAI's shape.
    ///
    /// # Panics
    ///
    /// When the answer has another shape.
    #[must_use]
    pub fn refusal(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text());
        let json = self.json();
        let error = json["error"].as_object().expect("an error");
        let members = error.keys().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(members, ["code", "message", "param", "type"], "{json}");
        (self.status, error["code"].as_str().unwrap_or("-").to_owned())
    }
}
