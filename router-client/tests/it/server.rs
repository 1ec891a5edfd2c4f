//! Servers that record what they are asked.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Uri};
use serde_json::{Value, json};

pub(crate) struct Server {
    url: String,
    seen: Arc<Mutex<Vec<(Parts, Bytes)>>>,
}

impl Server {
    /// Answers the n-th request, from 0, with what `answer` makes for n.
    pub(crate) async fn start<R>(
        answer: impl Fn(usize) -> R + Clone + Send + Sync + 'static,
    ) -> Self
    where
        R: IntoResponse + 'static,
    {
        Self::answering(move |n, _| answer(n)).await
    }

    /// Answers each request with what `answer` makes of its JSON.
    pub(crate) async fn start_with<R>(
        answer: impl Fn(&Value) -> R + Clone + Send + Sync + 'static,
    ) -> Self
    where
        R: IntoResponse + 'static,
    {
        Self::answering(move |_, body| answer(&serde_json::from_slice(body).unwrap())).await
    }

    async fn answering<R>(
        answer: impl Fn(usize, &Bytes) -> R + Clone + Send + Sync + 'static,
    ) -> Self
    where
        R: IntoResponse + 'static,
    {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let handler = async move |request: Request| -> Response {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let mut seen = record.lock().unwrap();
            seen.push((parts, body.clone()));
            answer(seen.len() - 1, &body).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, Router::new().fallback(handler)).await });
        Self { url, seen }
    }

    /// A routing model whose every answer has `content`.
    pub(crate) async fn model(content: &str) -> Self {
        let completion = completion(content);
        Self::start(move |_| completion.clone()).await
    }

    pub(crate) fn url(&self, path: &str) -> Uri {
        format!("{}{path}", self.url).parse().unwrap()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The only request so far: method and target, headers, body.
    pub(crate) fn only(&self) -> (String, HeaderMap, Bytes) {
        let seen = self.seen.lock().unwrap();
        let [(parts, body)] = &seen[..] else { panic!("{} requests", seen.len()) };
        let line = format!("{} {}", parts.method, parts.uri);
        (line, parts.headers.clone(), body.clone())
    }

    /// The body of the n-th request, from 0.
    pub(crate) fn json(&self, n: usize) -> Value {
        serde_json::from_slice(&self.seen.lock().unwrap()[n].1).unwrap()
    }

    pub(crate) fn only_json(&self) -> Value {
        serde_json::from_slice(&self.only().2).unwrap()
    }
}

pub(crate) fn completion(content: &str) -> String {
    json!({"choices": [{"message": {"role": "assistant", "content": content}}]}).to_string()
}

/// A server that writes `answer` to its first connection as it is, then hands it to `then`.
pub(crate) fn raw(answer: Vec<u8>, then: impl FnOnce(TcpStream) + Send + 'static) -> Uri {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The requests of these tests arrive in one piece.
        let read = stream.read(&mut [0; 64 * 1024]).unwrap();
        assert!(read > 0);
        // The client may hang up while this is written.
        let _ = stream.write_all(&answer);
        then(stream);
    });
    url.parse().unwrap()
}
