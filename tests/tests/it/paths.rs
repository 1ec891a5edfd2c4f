//! Every path that a client asks for: what no session decides, and what lives at one provider.

use affinity_tests::{
    Answer, Gateway, Request, Response, Seen, Upstream, get, ok_json, post, within,
};
use serde_json::{Value, json};

use crate::chat;

const OPENAI: &str = "openai/gpt-4o";
const GROQ: &str = "groq/llama-4";
const CLAUDE: &str = "anthropic/claude-opus-4-8";

/// Says who it is and what it was asked. What it makes has its name in the id.
async fn provider(name: &'static str) -> Upstream {
    Upstream::start(move |seen| {
        let (method, path) = asked(seen);
        if path.ends_with("/content") {
            return Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nbytes".to_vec());
        }
        let made = if method == "POST" { format!("{name}-1") } else { "other".to_owned() };
        let made = match (path.strip_prefix("/v1/"), method.as_str()) {
            (Some("responses"), _) => format!("resp_{name}"),
            (Some("messages"), _) => "msg_1".to_owned(),
            _ => made,
        };
        let container = json!({"id": format!("cntr_{name}")});
        ok_json(&json!({"id": made, "who": name, "method": method, "path": path,
            "container": container, "choices": [], "output": [], "status": "completed"}))
    })
    .await
}

fn asked(seen: &Seen) -> (String, String) {
    let mut line = seen.line.split(' ').map(str::to_owned);
    (line.next().unwrap(), line.next().unwrap())
}

struct Scene {
    openai: Upstream,
    groq: Upstream,
    claude: Upstream,
    gateway: Gateway,
}

/// Three vendors, and files at `passthrough`.
async fn start(more: &str) -> Scene {
    let (openai, groq, claude) =
        (provider("openai").await, provider("groq").await, provider("claude").await);
    let config = format!(
        "version: v0.4.0
model_providers:
  - {{model: {OPENAI}, base_url: '{}', access_key: key-of-openai, default: true}}
  - {{model: {GROQ}, base_url: '{}', access_key: key-of-groq}}
  - {{model: {CLAUDE}, base_url: '{}', access_key: key-of-claude}}
  - {{model: anthropic/*, base_url: '{}', access_key: key-of-claude}}
model_aliases: {{embedder: {{target: {OPENAI}}}}}
routing_preferences:
  - {{name: poems, description: writing poems, models: [{GROQ}, {OPENAI}]}}
  - {{name: sums, description: solving equations, models: [{OPENAI}, {GROQ}]}}
{more}",
        openai.url(),
        groq.url(),
        claude.url(),
        claude.url(),
    );
    let gateway = Gateway::start(&config).await;
    Scene { openai, groq, claude, gateway }
}

const PASSTHROUGH: &str = "passthrough: openai\n";

impl Scene {
    async fn ask(&self, request: Request) -> Response {
        self.gateway.ask(&request).await
    }

    /// Which provider answered.
    async fn who(&self, request: Request) -> String {
        let answer = self.ask(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["who"].as_str().unwrap().to_owned()
    }

    fn count(&self) -> usize {
        self.openai.count() + self.groq.count() + self.claude.count()
    }
}

fn multipart(path: &str) -> Request {
    let body = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--b--\r\n";
    post(path, body).header("content-type", "multipart/form-data; boundary=b")
}

fn respond(model: &str, text: &str) -> Request {
    post("/v1/responses", json!({"model": model, "input": text}))
}

#[tokio::test]
async fn a_response_is_fetched_cancelled_and_deleted_where_it_was_made() {
    let scene = start("").await;
    for (model, text, name) in
        [("auto", "writing poems", "groq"), ("auto", "solving equations", "openai")]
    {
        // Nobody names a session, one in the background at that.
        let body = json!({"model": model, "input": text, "background": true});
        let made = scene.ask(post("/v1/responses", body)).await.json()["id"].clone();
        let id = made.as_str().unwrap();
        assert_eq!(id, format!("resp_{name}"));
        for (method, below) in [
            ("GET", ""),
            ("GET", "?stream=true&starting_after=7"),
            ("GET", "/input_items?limit=2"),
            ("POST", "/cancel"),
            ("DELETE", ""),
        ] {
            let path = format!("/v1/responses/{id}{below}");
            let answer = scene.ask(get(&path).method(method)).await;
            let told = answer.json();
            assert_eq!((&told["who"], &told["method"]), (&json!(name), &json!(method)), "{path}");
            assert_eq!(told["path"], path, "the query goes with it");
            assert_eq!(answer.header("x-plano-pinned"), Some("false"));
            assert_eq!(answer.header("x-plano-affinity"), Some("none"));
        }
    }
    let key = scene.groq.last();
    assert_eq!(key.all("authorization"), ["Bearer key-of-groq"]);
    let before = scene.count();
    let unknown = scene.ask(get("/v1/responses/resp_unknown")).await;
    assert_eq!(unknown.refusal(), (404, "not_found".to_owned()));
    assert!(unknown.text().contains("24 hours"), "{}", unknown.text());
    let wrong = scene.ask(get("/v1/responses/resp_groq").method("PUT")).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET,HEAD,DELETE")));
    assert_eq!(scene.count(), before);
}

#[tokio::test]
async fn a_stream_of_a_response_that_is_fetched_passes_as_it_comes() {
    let (steps, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream = Upstream::start(move |seen| match seen.line.starts_with("GET") {
        true => Answer::Steps(receiver.lock().unwrap().take().unwrap()),
        false => ok_json(&json!({"id": "resp_1", "output": []})),
    })
    .await;
    let gateway = affinity_tests::Setup::new(&upstream.url()).start().await;
    gateway.ask(&respond(affinity_tests::models::ONE, "hello")).await;
    let mut connection = gateway.connect().await;
    connection.write(&get("/v1/responses/resp_1?stream=true")).await;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    steps.send(head.into()).unwrap();
    let head = within(connection.head()).await;
    assert!(head.line.contains(" 200 "), "no event has come, and the head is there");
    for event in ["data: {\"n\":1}\n\n", "data: {\"n\":2}\n\n"] {
        steps.send(format!("{:x}\r\n{event}\r\n", event.len()).into()).unwrap();
        let piece = within(connection.piece()).await;
        assert_eq!(piece, affinity_tests::Piece::Data(event.into()));
    }
}

#[tokio::test]
async fn what_names_a_configured_model_goes_to_its_provider_without_a_pin() {
    let scene = start("").await;
    for (path, model, name, id) in [
        ("/v1/embeddings", OPENAI, "openai", "gpt-4o"),
        ("/v1/embeddings", "embedder", "openai", "gpt-4o"),
        ("/v1/completions", "llama-4", "groq", "llama-4"),
        ("/v1/moderations", GROQ, "groq", "llama-4"),
        ("/v1/audio/speech", "gpt-4o", "openai", "gpt-4o"),
        ("/v1/rerank/", "anthropic/x", "claude", "x"),
        ("/openai/v1/images/generations", "claude-haiku-5", "claude", "claude-haiku-5"),
    ] {
        let body = format!("{{ \"input\":\"a\",\"model\" : \"{model}\",\"n\":1.50}}");
        let request = post(path, body).session("s").header("x-plano-model", "forged");
        let answer = scene.ask(request).await;
        assert_eq!((answer.status, &answer.json()["who"]), (200, &json!(name)), "{path} {model}");
        assert_eq!(answer.header("x-plano-affinity"), Some("none"), "{path}");
        assert!(answer.header("x-plano-model").unwrap().ends_with(id), "{path}");
        let upstream = match name {
            "openai" => &scene.openai,
            "groq" => &scene.groq,
            _ => &scene.claude,
        };
        let sent = upstream.last();
        let expected = format!("{{ \"input\":\"a\",\"model\" : \"{id}\",\"n\":1.50}}");
        assert_eq!(String::from_utf8_lossy(&sent.body), expected, "nothing else is changed");
        assert!(!sent.has("x-plano-model"));
    }
    // No pin was made: the session is routed by its first turn.
    let turn = post("/v1/chat/completions", chat("auto", "writing poems")).session("s");
    assert_eq!(scene.ask(turn).await.affinity(), ("false", "claimed", GROQ));
    let before = scene.count();
    for (body, expected) in [
        (r#"{"model":"auto"}"#, (400, "not_routed")),
        (r#"{"model":"nobody/x"}"#, (404, "model_not_found")),
        (r#"{"model":7}"#, (400, "invalid_value")),
        (r#"{"model":"gpt-4o","model":"llama-4"}"#, (400, "duplicate_key")),
        (r#"{"Model":"gpt-4o"}"#, (400, "ambiguous_key")),
        (r#"{"model":"gpt-4o""#, (400, "invalid_json")),
        (r#"{"input":"a"}"#, (404, "not_found")),
    ] {
        let answer = scene.ask(post("/v1/embeddings", body)).await;
        assert_eq!(answer.refusal(), (expected.0, expected.1.to_owned()), "{body}");
    }
    assert_eq!(scene.count(), before);
}

#[tokio::test]
async fn without_a_passthrough_the_client_is_told_of_the_key() {
    let scene = start("").await;
    for request in [
        multipart("/v1/files"),
        get("/v1/files"),
        get("/v1/files/file-1").method("DELETE"),
        post("/v1/batches", json!({"input_file_id": "file-1"})),
        multipart("/v1/audio/transcriptions"),
    ] {
        let answer = scene.ask(request).await;
        assert_eq!(answer.refusal(), (404, "not_found".to_owned()));
        assert!(answer.text().contains("passthrough"), "{}", answer.text());
    }
    let anthropic = scene.ask(get("/v1/files").header("anthropic-version", "2023-06-01")).await;
    assert_eq!(anthropic.json()["error"]["type"], "not_found_error");
    assert_eq!(scene.count(), 0);
}

#[tokio::test]
async fn what_names_no_model_passes_to_the_provider_by_any_method() {
    let scene = start(PASSTHROUGH).await;
    for (method, path) in [
        ("GET", "/v1/files?after=x&limit=2"),
        ("GET", "/v1/files/file-1"),
        ("DELETE", "/v1/files/file-1"),
        ("POST", "/v1/batches/batch_1/cancel"),
        ("GET", "/v1/vector_stores/vs_1/files/file-1"),
        ("PATCH", "/v1/containers/cntr_1"),
        ("PUT", "/v1/uploads/upload_1/parts/2"),
        ("GET", "/v1/messages/batches/b/results"),
    ] {
        let told = scene.ask(get(path).method(method)).await.json();
        assert_eq!((&told["method"], &told["path"]), (&json!(method), &json!(path)));
        assert_eq!(told["who"], "openai");
    }
    let json = post("/v1/vector_stores", json!({"name": "v", "file_ids": ["file-1"]}));
    assert_eq!(scene.who(json).await, "openai");
    let form = multipart("/v1/audio/transcriptions").header("authorization", "Bearer client");
    assert_eq!(scene.who(form).await, "openai");
    let sent = scene.openai.last();
    assert_eq!(sent.all("authorization"), ["Bearer key-of-openai"]);
    assert_eq!(sent.all("content-type"), ["multipart/form-data; boundary=b"]);
    assert!(sent.complete && sent.body.ends_with(b"--b--\r\n"));
    let content = scene.ask(get("/v1/files/file-1/content")).await;
    assert_eq!((content.status, content.text().as_str()), (200, "bytes"));
    for path in ["/v1/organization/users", "/v1/organizations/api_keys", "/v1/message"] {
        let before = scene.count();
        let answer = scene.ask(get(path)).await;
        assert_eq!(answer.refusal(), (404, "not_found".to_owned()), "{path}");
        assert_eq!(scene.count(), before);
    }
}

#[tokio::test]
async fn an_upload_larger_than_any_body_passes() {
    let scene =
        start("passthrough: openai\nlimits: {body_bytes: 65536, body_memory_bytes: 1048576}\n")
            .await;
    let large = vec![b'x'; 24 << 20];
    let request = multipart("/v1/files").bytes(large.clone());
    assert_eq!(scene.who(request).await, "openai");
    assert_eq!(scene.openai.last().body, large);
}

#[tokio::test]
async fn a_request_that_names_a_file_goes_to_the_models_of_its_provider() {
    let scene = start("passthrough: groq\n").await;
    let file = scene.ask(multipart("/v1/files")).await.json()["id"].clone();
    assert_eq!(file, "groq-1");
    let answers = |id: &str| {
        let file = json!({"type": "file", "file": {"file_id": id}});
        let text = json!({"type": "text", "text": "solving equations"});
        let messages = json!([{"role": "user", "content": [text, file]}]);
        post("/v1/chat/completions", json!({"model": "auto", "messages": messages}))
    };
    assert_eq!(scene.who(answers("groq-1")).await, "groq", "where it was uploaded");
    assert_eq!(scene.who(answers("file-unknown")).await, "groq", "where all are uploaded");
    let plain = post("/v1/chat/completions", chat("auto", "solving equations")).session("s");
    assert_eq!(scene.ask(plain.clone()).await.affinity(), ("false", "claimed", OPENAI));
    // A pinned session leaves its model for this request alone, as for an image.
    let detour = scene.ask(answers("groq-1").session("s")).await;
    assert_eq!(detour.affinity(), ("false", "hit", GROQ));
    assert_eq!(scene.ask(plain).await.affinity(), ("true", "hit", OPENAI));
    // The argument of a tool and metadata are no references.
    let call = json!({"type": "tool_use", "id": "t", "name": "n", "input": {"file_id": "groq-1"}});
    let messages = json!([{"role": "user", "content": "solving equations"},
        {"role": "assistant", "content": [call]}]);
    let body = json!({"model": "auto", "messages": messages, "metadata": {"file_id": "groq-1"}});
    assert_eq!(scene.who(post("/v1/chat/completions", body)).await, "openai");
}

#[tokio::test]
async fn a_container_that_an_answer_made_is_found_again() {
    let scene = start("").await;
    let first = respond("auto", "writing poems");
    assert_eq!(scene.who(first).await, "groq");
    let tool = json!({"type": "code_interpreter", "container": "cntr_groq"});
    let body = json!({"model": "auto", "input": "solving equations", "tools": [tool]});
    assert_eq!(scene.who(post("/v1/responses", body)).await, "groq");
}

#[tokio::test]
async fn a_response_is_followed_at_its_provider_also_after_the_pin_is_gone() {
    let scene = start("").await;
    let first = respond("auto", "writing poems").session("s").header("x-plano-affinity", "final");
    assert_eq!(scene.who(first).await, "groq");
    let body = json!({"model": "auto", "input": "solving equations",
        "previous_response_id": "resp_groq"});
    let next = scene.ask(post("/v1/responses", body).session("s")).await;
    assert_eq!(next.affinity(), ("false", "claimed", GROQ));
}

#[tokio::test]
async fn one_tenant_s_id_is_not_another_s() {
    let more = "passthrough: openai\nrouting: {session_cache: {tenant_header: x-tenant}}\n";
    let scene = start(more).await;
    let of = |request: Request, tenant: &str| request.header("x-tenant", tenant);
    scene.ask(of(respond("auto", "writing poems"), "acme")).await;
    let file = scene.ask(of(multipart("/v1/files"), "acme")).await.json()["id"].clone();
    assert_eq!(file, "openai-1");
    for path in ["/v1/responses/resp_groq", "/v1/files/openai-1", "/v1/files/openai-1/content"] {
        assert_eq!(scene.ask(of(get(path), "acme")).await.status, 200, "{path}");
        let before = scene.count();
        let other = scene.ask(of(get(path), "other")).await;
        assert_eq!(other.refusal(), (404, "not_found".to_owned()), "{path}");
        let nobody = scene.ask(get(path)).await;
        assert_eq!(nobody.refusal(), (400, "missing_scope".to_owned()), "{path}");
        assert_eq!(scene.count(), before);
    }
    let list = scene.ask(of(get("/v1/files"), "acme")).await;
    assert_eq!(list.refusal(), (404, "not_found".to_owned()), "a list is everyone's");
}

#[tokio::test]
async fn what_a_key_s_client_makes_is_its_own_whatever_the_body_names() {
    // What is added to a vector store is answered with the id of the file that the client named.
    let upstream = Upstream::start(|seen| {
        let (_, path) = asked(seen);
        let made = path.split('/').nth(2).unwrap().to_owned();
        let made = if path.ends_with("/files") { "files" } else { &made };
        ok_json(&json!({"id": format!("{made}-1")}))
    })
    .await;
    let setup = affinity_tests::Setup::new(&upstream.url()).line("passthrough: openai");
    let keys =
        "{name: a, key: key-a, scope: a}, {name: b, key: key-b, scope: b}, {name: c, key: key-c}";
    let gateway = setup.listener(&format!("client_keys: [{keys}]")).start().await;
    let by = async |key: &str, request: Request| {
        gateway.ask(&request.header("x-api-key", key)).await.status
    };
    let named = |path: &str| post(path, json!({"model": affinity_tests::models::ONE}));
    assert_eq!(by("key-a", multipart("/v1/files")).await, 200);
    assert_eq!(by("key-a", named("/v1/videos")).await, 200);
    assert_eq!(by("key-a", get("/v1/videos/videos-1")).await, 200, "it was noted");
    assert_eq!(by("key-a", named("/v1/videos/videos-1/remix")).await, 200);
    assert_eq!(by("key-b", post("/v1/vector_stores", json!({}))).await, 200);
    let add = post("/v1/vector_stores/vector_stores-1/files", json!({"file_id": "files-1"}));
    assert_eq!(by("key-b", add).await, 200);
    let before = upstream.count();
    for key in ["key-b", "key-c"] {
        for request in [
            get("/v1/files"),
            get("/v1/files/files-1"),
            get("/v1/files/files-1").method("DELETE"),
            get("/v1/videos/videos-1"),
            named("/v1/videos/videos-1/remix"),
            named("/v1/organization/admin_api_keys"),
        ] {
            assert_eq!(by(key, request.clone()).await, 404, "{key} {request:?}");
        }
    }
    assert_eq!(by("key-a", named("/v1/organization/admin_api_keys")).await, 404);
    assert_eq!(upstream.count(), before);
}

#[tokio::test]
async fn a_first_turn_that_is_refused_for_its_protocol_leaves_no_pin() {
    for more in ["", "routing: {failover: false}\n"] {
        let scene = start(more).await;
        let refused = post("/v1/messages", chat(GROQ, "zzz")).session("s");
        let refused = scene.ask(refused).await;
        assert_eq!((refused.status, refused.header("x-plano-affinity")), (400, Some("failed")));
        let turn = post("/v1/chat/completions", chat("auto", "writing poems")).session("s");
        assert_eq!(scene.ask(turn).await.affinity(), ("false", "claimed", GROQ), "{more}");
    }
}

#[tokio::test]
async fn slips_of_a_base_url_are_served_or_named() {
    let scene = start("").await;
    for (path, named) in [
        ("/v1/v1/chat/completions", None),
        ("/v1/chat/completions/", None),
        ("//v1//chat/completions", None),
        ("/openai/v1/chat/completions", None),
        ("/anthropic/v1/v1/chat/completions", None),
        ("/chat/completions", Some("/v1/chat/completions")),
        ("/openai/chat/completions", Some("/v1/chat/completions")),
        ("/v1/chat/completion", Some("/v1/chat/completions")),
    ] {
        let answer = scene.ask(post(path, chat(OPENAI, "zzz"))).await;
        match named {
            None => assert_eq!(answer.status, 200, "{path}: {}", answer.text()),
            Some(named) => {
                assert_eq!(answer.refusal(), (404, "not_found".to_owned()), "{path}");
                assert!(answer.text().contains(&format!(": {named}\"")), "{}", answer.text());
            }
        }
    }
}

#[tokio::test]
async fn gemini_s_clients_are_told_in_their_own_shape() {
    let scene = start(PASSTHROUGH).await;
    for path in [
        "/v1beta/models/gemini-3-pro:generateContent",
        "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse",
        "/v1/models/gemini-3-pro:generateContent",
        "/v1beta1/projects/p/locations/l/publishers/google/models/m:generateContent",
    ] {
        let told = scene.ask(post(path, json!({"contents": []}))).await;
        let error: Value = told.json()["error"].take();
        assert_eq!((told.status, &error["code"]), (404, &json!(404)), "{path}");
        assert_eq!(error["status"], "NOT_FOUND");
        assert!(error["message"].as_str().unwrap().contains("/v1/chat/completions"), "{error}");
    }
    assert_eq!(scene.count(), 0);
}
