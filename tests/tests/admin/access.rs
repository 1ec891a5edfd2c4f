//! Who is let in, and where.

use affinity_tests::models::DEFAULT;
use affinity_tests::{Connection, Setup, Upstream, Wire, get, post, until};
use tokio::net::TcpStream;

use crate::{Admin, TOKEN, turn, with_admin};

#[tokio::test]
async fn the_status_tells_what_runs_here() {
    let upstream = Upstream::echo().await;
    let gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let admin = Admin::of(&gateway).await;
    assert_eq!(gateway.ask(&turn("s")).await.status, 200);
    let status = admin.get("/admin/v1/status").await;
    assert_eq!(status["store"], serde_json::json!({"type": "memory", "ready": true}));
    assert_eq!(status["sessions"], 1);
    assert_eq!(status["models"].as_array().unwrap().len(), 3);
    assert!(status["version"].is_string());
}

#[tokio::test]
async fn a_client_that_names_no_session_is_told_once_with_the_setting_that_would_hold_it() {
    let upstream = Upstream::echo().await;
    let gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let admin = Admin::of(&gateway).await;
    let messages = serde_json::json!([{"role": "user", "content": "hello"}]);
    let body = serde_json::json!({
        "model": DEFAULT, "prompt_cache_key": "hush", "messages": messages
    });
    let unnamed = post("/v1/chat/completions", body).header("user-agent", "OpenAI/Python 2.1.0");
    for _ in 0..3 {
        assert_eq!(gateway.ask(&unnamed).await.affinity().1, "none");
    }
    gateway.ask(&turn("s")).await;
    let told = admin.get("/admin/v1/status").await["unnamed_clients"].clone();
    let advice = "it sends prompt_cache_key: set routing.body_ids: [prompt_cache_key]";
    let client = "OpenAI/Python";
    assert_eq!(told, serde_json::json!([{"client": client, "requests": 3, "advice": advice}]));
    until(async || gateway.log().contains("names no session")).await;
    let log = gateway.log();
    assert_eq!(log.matches("names no session").count(), 1, "{log}");
    assert!(log.contains("body_ids: [prompt_cache_key]") && !log.contains("hush"), "{log}");
}

#[tokio::test]
async fn neither_side_can_keep_the_other_out() {
    let upstream = Upstream::echo().await;
    let setup = with_admin(Setup::new(&upstream.url())).line("limits: {max_connections: 2}");
    let gateway = setup.start().await;
    let admin = Admin::of(&gateway).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut connection = gateway.connect().await;
        assert_eq!(connection.ask(&get("/healthz")).await.status, 200);
        kept.push(connection);
    }
    assert_eq!(gateway.connect().await.answer().await.status, 503);
    admin.get("/admin/v1/status").await;
    drop(kept);
    let mut strangers = Vec::new();
    let known = get("/admin/v1/status").header("authorization", &format!("Bearer {TOKEN}"));
    let mut operator = Connection::open(admin.0).await;
    assert_eq!(operator.ask(&known).await.status, 200);
    for number in 0..200 {
        let mut connection = Connection::open(admin.0).await;
        // Some say nothing, some show no token.
        if number % 2 == 0 {
            assert_eq!(connection.ask(&get("/admin/v1/status")).await.status, 401);
        }
        strangers.push(connection);
    }
    // The operator keeps what there is, and finds a place for more.
    assert_eq!(operator.ask(&known).await.status, 200);
    for _ in 0..3 {
        assert_eq!(Connection::open(admin.0).await.ask(&known).await.status, 200);
    }
    // Those that were dropped may take a moment to be gone.
    until(async || {
        let mut wire = Wire::new(TcpStream::connect(gateway.address()).await.unwrap());
        let asked = wire.write(&get("/v1/models").wire()).await;
        asked.is_ok() && wire.head().await.is_some_and(|head| head.line.contains(" 200 "))
    })
    .await;
}

#[tokio::test]
async fn nobody_is_let_in_without_the_token() {
    let upstream = Upstream::echo().await;
    let gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let admin = Admin::of(&gateway).await;
    let requests = [
        get("/admin/v1/status"),
        get("/nowhere"),
        post("/admin/v1/status", "{}"),
        get("/admin/v1/pins"),
        get("/admin/v1/pins/x"),
        get("/admin/v1/pins/x").method("DELETE"),
        get("/admin/v1/pin?session=s"),
        post("/admin/v1/pins/move", "{}"),
        post("/admin/v1/models/openai/gpt-4o/drain", "{}"),
        get("/admin/v1/models/openai/gpt-4o/drain").method("DELETE"),
        get("/admin/v1/drains"),
        get("/admin/v1/lanes/x"),
        get("/admin/v1/events"),
        get("/admin/v1/ledger"),
        get("/admin/v1/ledger/sessions"),
    ];
    for request in requests {
        for shown in [None, Some("Bearer"), Some("Bearer no"), Some(TOKEN), Some("Basic no")] {
            let mut request = request.clone();
            if let Some(shown) = shown {
                request = request.header("authorization", shown);
            }
            let refused = admin.ask_plainly(&request).await.refusal();
            assert_eq!(refused, (401, "invalid_api_key".to_owned()), "{shown:?}");
        }
        let as_key = request.header("x-api-key", TOKEN);
        assert_eq!(admin.ask_plainly(&as_key).await.status, 401, "it is no key of a client");
    }
    assert_eq!(admin.ask(get("/nowhere")).await.refusal(), (404, "not_found".to_owned()));
    let wrong_method = admin.ask(post("/admin/v1/status", "{}")).await.refusal();
    assert_eq!(wrong_method, (405, "method_not_allowed".to_owned()));
    assert!(!gateway.log().contains(TOKEN), "{}", gateway.log());
}

#[tokio::test]
async fn nothing_of_it_is_served_to_clients() {
    let upstream = Upstream::echo().await;
    let gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let request = get("/admin/v1/status").header("authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(gateway.ask(&request).await.refusal(), (404, "not_found".to_owned()));
    let admin = Admin::of(&gateway).await;
    for path in ["/v1/models", "/healthz", "/metrics"] {
        assert_eq!(admin.ask(get(path)).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn it_stops_with_the_gateway() {
    let upstream = Upstream::echo().await;
    let mut gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let admin = Admin::of(&gateway).await;
    let mut kept = Connection::open(admin.0).await;
    assert_eq!(kept.ask(&get("/admin/v1/status")).await.status, 401);
    gateway.signal("TERM").await;
    assert!(gateway.ended().await.success());
}
