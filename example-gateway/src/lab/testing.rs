//! What the tests of `demo` and `verify` share: streams to read and a gateway to talk to.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::HeaderValue;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::lab::provider;
use crate::lab::term::Terminal;

/// A stream that can be read afterwards.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn terminal() -> (Terminal, Captured, Captured) {
    let (out, err) = (Captured::default(), Captured::default());
    (Terminal::plain(out.clone(), err.clone()), out, err)
}

/// How a fake gateway treats a session.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// Pins it.
    Pins,
    /// Routes each request and says so.
    Ignores,
    /// Routes each request and says that it was pinned.
    Pretends,
    /// Pins it by its headers, while another model answers.
    Swaps,
    /// One model only, without a word about pins.
    Silent,
}

#[derive(Clone)]
struct Gateway {
    manner: Manner,
    models: [&'static str; 2],
    sessions: Arc<Mutex<(usize, HashMap<HeaderValue, &'static str>)>>,
}

/// Starts a gateway in front of the simulated provider that takes `models` in turn, and gives its
/// URL.
pub(crate) async fn gateway(manner: Manner, models: [&'static str; 2]) -> String {
    let gateway = Gateway { manner, models, sessions: Arc::default() };
    let app =
        provider::router(provider::Options::default()).layer(from_fn_with_state(gateway, through));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn through(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let (model, answering, pinned) = gateway.select(parts.headers.get("x-model-affinity"));
    let body = body.collect().await.unwrap().to_bytes();
    let mut body = serde_json::from_slice::<Value>(&body).unwrap();
    body["model"] = json!(answering);
    let mut response = next.run(Request::from_parts(parts, body.to_string().into())).await;
    if gateway.manner != Manner::Silent {
        let headers = response.headers_mut();
        headers.insert("x-plano-model", HeaderValue::from_static(model));
        let pinned = if pinned { "true" } else { "false" };
        headers.insert("x-plano-pinned", HeaderValue::from_static(pinned));
    }
    response
}

impl Gateway {
    /// The model, the one that answers in its place, and whether the first is said to be pinned.
    fn select(&self, session: Option<&HeaderValue>) -> (&'static str, &'static str, bool) {
        let (calls, sessions) = &mut *self.sessions.lock().unwrap();
        let routed = self.models[*calls % 2];
        *calls += 1;
        let Some(session) = session else { return (routed, routed, false) };
        let pinned = sessions.contains_key(session);
        let first = *sessions.entry(session.clone()).or_insert(routed);
        match self.manner {
            Manner::Pins => (first, first, pinned),
            Manner::Ignores => (routed, routed, false),
            Manner::Pretends => (routed, routed, true),
            Manner::Swaps => (first, routed, pinned),
            Manner::Silent => (self.models[0], self.models[0], false),
        }
    }
}
