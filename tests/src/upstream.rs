//! A provider that answers as configured and keeps what it was sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use crate::wire::{Wire, field};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request line.
    pub line: String,
    /// The header fields.
    pub fields: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Whether the body ended as its framing foresees.
    pub complete: bool,
}

impl Seen {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// All values of a field.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        field(&self.fields, name)
    }

    /// Whether a field is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

/// What the provider does with a request.
#[derive(Debug)]
pub enum Answer {
    /// Writes these bytes, and takes the next request of the connection.
    Bytes(Vec<u8>),
    /// Writes what the test sends, when it sends it; hangs up when the sender is dropped.
    Steps(UnboundedReceiver<Bytes>),
    /// Writes these bytes and resets the connection.
    Cut(Vec<u8>),
    /// Says nothing until the client gives up.
    Silence,
}

/// A 200 with this JSON.
#[must_use]
pub fn ok_json(body: &Value) -> Answer {
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
    Answer::Bytes(format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes())
}

type Script = dyn Fn(&Seen) -> Answer + Send + Sync;

/// A server on a free port of the loopback; it ends when this is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Answers each request by `script`.
    pub async fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (record, script) = (seen.clone(), Arc::<Script>::from(Box::new(script) as Box<Script>));
        let connections = Arc::<AtomicUsize>::default();
        let accepted = connections.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                let (record, script) = (record.clone(), script.clone());
                served.spawn(serve(Wire::new(stream), record, script));
            }
        });
        Self { address, seen, connections, _tasks: tasks }
    }

    /// Names the model that it was asked for, as a provider does.
    pub async fn echo() -> Self {
        Self::start(|seen| ok_json(&json!({"model": seen.json()["model"], "choices": []}))).await
    }

    /// Answers each request with the same bytes.
    pub async fn fixed(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_| Answer::Bytes(answer.clone())).await
    }

    /// Its address as a URL, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// How many requests there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The newest request.
    #[must_use]
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request")
    }
}

/// An address that refuses connections. The port is taken while this lives, so that no other test
/// comes to listen there.
#[derive(Debug)]
pub struct Refusing(TcpSocket);

impl Refusing {
    /// Takes a port and does not listen.
    #[must_use]
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        Self(socket)
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("an address"))
    }
}

impl Default for Refusing {
    fn default() -> Self {
        Self::new()
    }
}

async fn serve(mut wire: Wire, record: Arc<Mutex<Vec<Seen>>>, script: Arc<Script>) {
    while let Some(head) = wire.head().await {
        let (body, complete) = match head.framing() {
            Some(mut framing) => wire.rest(&mut framing).await,
            None => (Vec::new(), true),
        };
        let seen = Seen { line: head.line, fields: head.fields, body, complete };
        let answer = script(&seen);
        record.lock().expect("no panic").push(seen);
        match answer {
            Answer::Bytes(bytes) => {
                if wire.write(&bytes).await.is_err() {
                    return;
                }
            }
            Answer::Steps(mut steps) => {
                while let Some(bytes) = steps.recv().await {
                    if wire.write(&bytes).await.is_err() {
                        return;
                    }
                }
                return;
            }
            Answer::Cut(bytes) => {
                // The client may be gone already; then there is nothing to cut off.
                let _ = wire.write(&bytes).await;
                return wire.reset();
            }
            // Ends with the connection, which the client closes when it gives up.
            Answer::Silence => {}
        }
    }
}
