//! Responses by their ids, at every replica: the vendor that made one has it, and its tenant alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use affinity_tests::redis::RedisServer;
use affinity_tests::{
    Answer, Gateway, Piece, Request, Response, Seen, Upstream, get, ok_json, post,
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::is_ready;

const OPENAI: &str = "openai/gpt-4o";
const GROQ: &str = "groq/llama-4";

/// Texts that are routed to one vendor each.
const TEXTS: [(&str, &str); 2] = [("writing poems", "groq"), ("solving equations", "openai")];

/// A response at its vendor: its status and, if it is streamed, where its events go.
type Made = (&'static str, Option<UnboundedSender<Bytes>>);

/// A vendor that knows the responses that it made, and no others. Their ids do not tell whose they
/// are: `ids` counts for all vendors. A stream ends when its response is cancelled.
async fn vendor(name: &'static str, ids: Arc<AtomicUsize>) -> Upstream {
    let made = Mutex::new(HashMap::<String, Made>::new());
    Upstream::start(move |seen| {
        let mut made = made.lock().unwrap();
        let (method, path) = asked(seen);
        let below = path.strip_prefix("/v1/responses").unwrap();
        let (id, below) = match below.strip_prefix('/') {
            Some(below) => below.split_once('/').unwrap_or((below, "")),
            None => ("", ""),
        };
        if (method, id) == ("POST", "") {
            let id = format!("resp_{}", ids.fetch_add(1, Ordering::SeqCst));
            if seen.json()["stream"] == true {
                let (events, receiver) = unbounded_channel();
                events.send(HEAD.into()).unwrap();
                events.send(event("response.created", &id)).unwrap();
                events.send(event("response.in_progress", &id)).unwrap();
                events.send(event("response.output_text.delta", &id)).unwrap();
                made.insert(id, ("in_progress", Some(events)));
                return Answer::Steps(receiver);
            }
            made.insert(id.clone(), ("in_progress", None));
            return told(name, json!({"id": id, "status": "in_progress", "output": []}));
        }
        let Some((status, events)) = made.get_mut(id) else { return unknown() };
        match (method, below) {
            ("GET", "") => told(name, json!({"id": id, "status": status, "output": []})),
            ("GET", "input_items") => told(name, json!({"object": "list", "of": id, "data": []})),
            ("POST", "cancel") => {
                *status = "cancelled";
                if let Some(events) = events.take() {
                    events.send(event("response.cancelled", id)).unwrap();
                    events.send("0\r\n\r\n".into()).unwrap();
                }
                told(name, json!({"id": id, "status": "cancelled", "output": []}))
            }
            ("DELETE", "") => {
                made.remove(id);
                told(name, json!({"id": id, "deleted": true}))
            }
            _ => unknown(),
        }
    })
    .await
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\
                    transfer-encoding: chunked\r\n\r\n";

/// An event of a response, as a chunk.
fn event(kind: &str, id: &str) -> Bytes {
    let data = json!({"type": kind, "response": {"id": id}});
    let event = format!("event: {kind}\ndata: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into()
}

fn asked(seen: &Seen) -> (&str, &str) {
    let mut line = seen.line.split(' ');
    (line.next().unwrap(), line.next().unwrap().split('?').next().unwrap())
}

fn told(name: &str, mut body: Value) -> Answer {
    body["who"] = json!(name);
    ok_json(&body)
}

fn unknown() -> Answer {
    let body = json!({"error": {"message": "the vendor has no such response"}}).to_string();
    let head = "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length:";
    Answer::Bytes(format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes())
}

/// Two replicas before two vendors.
struct Scene {
    a: Gateway,
    b: Gateway,
    openai: Upstream,
    groq: Upstream,
}

impl Scene {
    async fn start(redis: &RedisServer, listener: &str) -> Self {
        let ids = Arc::<AtomicUsize>::default();
        let (openai, groq) = (vendor("openai", ids.clone()).await, vendor("groq", ids).await);
        let config = format!(
            "version: v0.4.0
listeners:
  - {{type: model, name: test, port: 12000{listener}}}
model_providers:
  - {{model: {OPENAI}, base_url: '{}', access_key: key-of-openai, default: true}}
  - {{model: {GROQ}, base_url: '{}', access_key: key-of-groq}}
routing_preferences:
  - {{name: poems, description: writing poems, models: [{GROQ}, {OPENAI}]}}
  - {{name: sums, description: solving equations, models: [{OPENAI}, {GROQ}]}}
routing: {{session_cache: {{type: redis, url: '{}', command_timeout_ms: 1000}}}}
",
            openai.url(),
            groq.url(),
            redis.url(),
        );
        let (a, b) = (Gateway::start(&config).await, Gateway::start(&config).await);
        for gateway in [&a, &b] {
            is_ready(gateway).await;
        }
        Self { a, b, openai, groq }
    }

    /// How many requests came to the vendors.
    fn count(&self) -> usize {
        self.openai.count() + self.groq.count()
    }
}

fn respond(text: &str) -> Request {
    post("/v1/responses", json!({"model": "auto", "input": text, "background": true}))
}

fn id_of(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// All that can be done with a response, the deletion last.
fn operations(id: &str) -> [Request; 4] {
    let path = format!("/v1/responses/{id}");
    [
        get(&path),
        get(&format!("{path}/input_items?limit=2")),
        post(&format!("{path}/cancel"), ""),
        get(&path).method("DELETE"),
    ]
}

#[tokio::test]
async fn a_response_of_one_replica_is_fetched_cancelled_and_deleted_through_the_other() {
    let redis = RedisServer::start().await;
    let scene = Scene::start(&redis, "").await;
    for (near, far) in [(&scene.a, &scene.b), (&scene.b, &scene.a)] {
        for (text, vendor) in TEXTS {
            // No client names a session.
            let id = id_of(&near.ask(&respond(text)).await);
            let expected = [
                json!({"who": vendor, "id": id, "status": "in_progress", "output": []}),
                json!({"who": vendor, "object": "list", "of": id, "data": []}),
                json!({"who": vendor, "id": id, "status": "cancelled", "output": []}),
                json!({"who": vendor, "id": id, "deleted": true}),
            ];
            let before = scene.count();
            for (operation, expected) in operations(&id).iter().zip(expected) {
                let answer = far.ask(operation).await;
                assert_eq!((answer.status, answer.json()), (200, expected), "{operation:?}");
                let told = (answer.header("x-plano-pinned"), answer.header("x-plano-affinity"));
                assert_eq!(told, (Some("false"), Some("none")), "{operation:?}");
            }
            assert_eq!(scene.count(), before + 4, "each was asked of one vendor, once");
            for gateway in [near, far] {
                let gone = gateway.ask(&get(&format!("/v1/responses/{id}"))).await;
                assert_eq!(gone.status, 404, "{}", gone.text());
            }
        }
    }
}

#[tokio::test]
async fn a_response_that_one_replica_streams_is_cancelled_through_the_other() {
    let redis = RedisServer::start().await;
    let scene = Scene::start(&redis, "").await;
    for (n, (text, vendor)) in TEXTS.into_iter().enumerate() {
        let id = format!("resp_{n}");
        let body = json!({"model": "auto", "input": text, "background": true, "stream": true});
        let mut client = scene.a.connect().await;
        client.write(&post("/v1/responses", body)).await;
        assert!(client.head().await.line.contains(" 200 "));
        // As soon as the client has the id, in the first event.
        let Piece::Data(first) = client.piece().await else { panic!("no event") };
        assert!(String::from_utf8_lossy(&first).contains(&format!("\"id\":\"{id}\"")));
        let running = scene.b.ask(&get(&format!("/v1/responses/{id}"))).await.json();
        assert_eq!((&running["who"], &running["status"]), (&json!(vendor), &json!("in_progress")));
        let cancel = post(&format!("/v1/responses/{id}/cancel"), "");
        assert_eq!(scene.b.ask(&cancel).await.json()["status"], "cancelled");
        let mut rest = Vec::new();
        let end = loop {
            match client.piece().await {
                Piece::Data(data) => rest.extend_from_slice(&data),
                end => break end,
            }
        };
        let rest = String::from_utf8_lossy(&rest);
        assert!(end == Piece::End && rest.contains("response.cancelled"), "{end:?}: {rest}");
    }
}

#[tokio::test]
async fn an_unknown_response_is_404_on_every_replica_and_no_vendor_is_asked() {
    let redis = RedisServer::start().await;
    let scene = Scene::start(&redis, "").await;
    for gateway in [&scene.a, &scene.b] {
        for operation in operations("resp_unknown") {
            let answer = gateway.ask(&operation).await;
            assert_eq!(answer.refusal(), (404, "not_found".to_owned()), "{operation:?}");
        }
    }
    assert_eq!(scene.count(), 0);
}

#[tokio::test]
async fn a_tenant_s_response_is_404_to_others_on_every_replica() {
    let redis = RedisServer::start().await;
    let keys = "{name: a, key: key-a, scope: a}, {name: a2, key: key-a2, scope: a}, \
                {name: b, key: key-b, scope: b}, {name: c, key: key-c}";
    let scene = Scene::start(&redis, &format!(", client_keys: [{keys}]")).await;
    let by = |key: &str, request: &Request| request.clone().header("x-api-key", key);
    for (text, vendor) in TEXTS {
        let id = id_of(&scene.a.ask(&by("key-a", &respond(text))).await);
        let before = scene.count();
        for gateway in [&scene.a, &scene.b] {
            for operation in operations(&id) {
                for key in ["key-b", "key-c"] {
                    let answer = gateway.ask(&by(key, &operation)).await;
                    assert_eq!(answer.refusal(), (404, "not_found".to_owned()), "{key}");
                }
                assert_eq!(gateway.ask(&operation).await.status, 401, "{operation:?}");
            }
        }
        assert_eq!(scene.count(), before, "no vendor was asked");
        // It is there, to each key of its tenant.
        for key in ["key-a", "key-a2"] {
            for gateway in [&scene.a, &scene.b] {
                let answer = gateway.ask(&by(key, &operations(&id)[0])).await;
                assert_eq!((answer.status, &answer.json()["who"]), (200, &json!(vendor)), "{key}");
            }
        }
        for operation in operations(&id) {
            let answer = scene.b.ask(&by("key-a2", &operation)).await;
            assert_eq!((answer.status, &answer.json()["who"]), (200, &json!(vendor)));
        }
    }
}
