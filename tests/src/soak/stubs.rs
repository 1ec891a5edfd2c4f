//! The provider, which counts what it serves, and the routing model; both have bad times.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;

/// The header that holds a request's number.
pub(super) const NONCE: &str = "x-soak-nonce";

/// How many models there are.
pub(super) const MODELS: usize = 3;

/// Pieces of a provider's answer, each of a KiB.
const PIECES: usize = 6;

type Body = StreamBody<ReceiverStream<io::Result<Frame<Bytes>>>>;

/// What every third call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    Fine,
    /// 503.
    Fails,
    /// An answer that takes longer; that of the router longer than its time limit.
    Slow,
    /// An answer that is cut off after its first piece.
    Breaks,
}

/// One stand-in.
#[derive(Debug)]
pub(super) struct Stub {
    weather: AtomicU8,
    calls: AtomicUsize,
    /// How often each request was given an answer; taken out by the client that made it.
    served: Mutex<HashMap<u64, u32>>,
}

impl Stub {
    pub(super) fn set(&self, weather: Weather) {
        self.weather.store(weather as u8, Relaxed);
    }

    /// What this call meets.
    fn weather(&self) -> Weather {
        let struck = self.calls.fetch_add(1, Relaxed).is_multiple_of(3);
        let known = [Weather::Fails, Weather::Slow, Weather::Breaks];
        let now = self.weather.load(Relaxed);
        let now = known.into_iter().find(|weather| *weather as u8 == now);
        now.filter(|_| struck).unwrap_or(Weather::Fine)
    }

    /// How often request `nonce` was given an answer.
    pub(super) fn take(&self, nonce: u64) -> u32 {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.remove(&nonce).unwrap_or(0)
    }

    fn serve(&self, request: &Request<Incoming>) {
        let nonce =
            request.headers().get(NONCE).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(nonce) = nonce {
            let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
            *served.entry(nonce).or_default() += 1;
        }
    }
}

/// Starts a stand-in that answers with `text`, given the number of the call.
pub(super) async fn start(
    tasks: &mut JoinSet<()>,
    slow: Duration,
    text: fn(usize) -> Vec<Bytes>,
) -> (SocketAddr, Arc<Stub>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let fine = AtomicU8::new(Weather::Fine as u8);
    let stub =
        Arc::new(Stub { weather: fine, calls: AtomicUsize::new(0), served: Mutex::default() });
    let served = stub.clone();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let stub = stub.clone();
            let service = service_fn(move |request| answer(stub.clone(), request, slow, text));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no error here.
            connections.spawn(async move { drop(connection.await) });
            while connections.try_join_next().is_some() {}
        }
    });
    (address, served)
}

async fn answer(
    stub: Arc<Stub>,
    mut request: Request<Incoming>,
    slow: Duration,
    text: fn(usize) -> Vec<Bytes>,
) -> Result<Response<Body>, Infallible> {
    let _ = request.body_mut().collect().await;
    let weather = stub.weather();
    if weather == Weather::Slow {
        sleep(slow).await;
    }
    let (sender, receiver) = mpsc::channel(1);
    let mut response = Response::new(StreamBody::new(ReceiverStream::new(receiver)));
    if weather == Weather::Fails {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(response);
    }
    stub.serve(&request);
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    let pieces = text(stub.calls.load(Relaxed));
    tokio::spawn(async move {
        for (n, piece) in pieces.into_iter().enumerate() {
            let broken = weather == Weather::Breaks && n == 1;
            let frame =
                if broken { Err(io::ErrorKind::Other.into()) } else { Ok(Frame::data(piece)) };
            if sender.send(frame).await.is_err() || broken {
                return;
            }
            sleep(Duration::from_millis(2)).await;
        }
    });
    Ok(response)
}

/// An answer of a provider.
pub(super) fn completion(_: usize) -> Vec<Bytes> {
    let end = Bytes::from_static(br#""choices":[{"finish_reason":"tool_calls"}]}"#);
    let filler = Bytes::from(format!("{:1024}", " "));
    [Bytes::from_static(b"{")].into_iter().chain(vec![filler; PIECES]).chain([end]).collect()
}

/// Another route each time.
pub(super) fn decision(call: usize) -> Vec<Bytes> {
    let content = format!(r#"{{\"route\":\"r{}\"}}"#, call % MODELS);
    let message =
        format!(r#"{{"choices":[{{"message":{{"role":"assistant","content":"{content}"}}}}]}}"#);
    let (first, rest) = message.split_at(20);
    vec![first.to_owned().into(), rest.to_owned().into()]
}
