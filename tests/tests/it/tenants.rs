//! Whose session it is.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{Gateway, ModelRouter, Request, Setup, Upstream, get, post};

use crate::chat;

async fn with(setup: impl Fn(Setup) -> Setup) -> (Upstream, ModelRouter, Gateway) {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = setup(Setup::routed(&upstream, &router)).start().await;
    (upstream, router, gateway)
}

fn by_header(setup: Setup) -> Setup {
    setup.routing("session_cache: {type: memory, tenant_header: x-tenant}")
}

fn by_key(setup: Setup) -> Setup {
    setup
        .listener("client_keys:")
        .listener("  - {name: a, key: key-of-a, scope: a}")
        .listener("  - {name: b, key: key-of-b, scope: b}")
}

fn turn() -> Request {
    post("/v1/chat/completions", chat(DEFAULT, "hello"))
}

#[tokio::test]
async fn a_session_needs_its_tenant_once_that_is_configured() {
    let (upstream, router, gateway) = with(by_header).await;
    let long = "t".repeat(129);
    for (tenant, code) in [
        (None, "missing_scope"),
        (Some(""), "missing_scope"),
        (Some(&*long), "invalid_scope"),
        (Some("é"), "invalid_scope"),
    ] {
        for path in ["/v1/chat/completions", "/routing/v1/chat/completions"] {
            let request = post(path, chat(DEFAULT, "hello")).session("s");
            let request = match tenant {
                Some(tenant) => request.header("x-tenant", tenant),
                None => request,
            };
            let answer = gateway.ask(&request).await;
            assert_eq!(answer.refusal(), (400, code.to_owned()), "{tenant:?}");
        }
    }
    let two = turn().session("s").header("x-tenant", "a").header("x-tenant", "b");
    assert_eq!(gateway.ask(&two).await.refusal(), (400, "invalid_scope".to_owned()));
    assert_eq!((upstream.count(), router.calls()), (0, 0));
    // Without a session nothing is looked up, so no tenant is needed.
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("false", "none", ONE));
}

#[tokio::test]
async fn tenants_do_not_share_sessions_however_they_are_named() {
    let (upstream, router, gateway) = with(by_header).await;
    let ask = async |tenant: &str, id: &str| {
        let answer = gateway.ask(&turn().session(id).header("X-Tenant", tenant)).await;
        let (pinned, why, model) = answer.affinity();
        format!("{pinned} {why} {model}")
    };
    assert_eq!(ask("a", "s").await, format!("false claimed {ONE}"));
    assert_eq!(ask("b", "s").await, format!("false claimed {TWO}"));
    assert_eq!(ask("a", "s").await, format!("true hit {ONE}"));
    assert_eq!(ask("b", "s").await, format!("true hit {TWO}"));
    // The same text when it is put together carelessly.
    assert_eq!(ask("a", "b:c").await, format!("false claimed {ONE}"));
    assert_eq!(ask("a:b", "c").await, format!("false claimed {TWO}"));
    assert_eq!(ask("a", "b%3Ac").await, format!("false claimed {ONE}"));
    assert_eq!(ask("a", "b:c").await, format!("true hit {ONE}"));
    assert_eq!(ask("a:b", "c").await, format!("true hit {TWO}"));
    assert_eq!(router.calls(), 5);
    for seen in upstream.seen() {
        assert!(!seen.has("x-tenant"), "the tenant is not the provider's business");
        assert!(seen.has("x-model-affinity"));
    }
}

#[tokio::test]
async fn a_listener_with_keys_lets_nobody_else_in() {
    let (upstream, router, gateway) = with(by_key).await;
    let shown = |request: Request| {
        [
            request.clone(),
            request.clone().header("authorization", "Bearer wrong"),
            request.clone().header("authorization", "Bearer key-of-"),
            request.clone().header("authorization", "Basic key-of-a"),
            request.clone().header("authorization", "key-of-a"),
            request.clone().header("x-api-key", ""),
            request.header("x-api-key", "key-of-a ".repeat(2).trim()),
        ]
    };
    for request in shown(turn()).into_iter().chain(shown(get("/v1/models"))) {
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.refusal(), (401, "invalid_api_key".to_owned()), "{request:?}");
        assert_eq!(answer.json()["error"]["type"], "authentication_error");
    }
    let messages = gateway.ask(&post("/v1/messages", chat(ONE, "hello"))).await;
    assert_eq!((messages.status, messages.json()["type"].as_str()), (401, Some("error")));
    assert_eq!((upstream.count(), router.calls()), (0, 0));
    assert_eq!(gateway.ask(&get("/healthz")).await.status, 200);
}

#[tokio::test]
async fn the_key_of_a_client_is_its_tenant_and_stays_here() {
    let (upstream, _router, gateway) = with(by_key).await;
    let bearer = |key: &str| turn().session("s").header("authorization", &format!("Bearer {key}"));
    let api_key = |key: &str| turn().session("s").header("x-api-key", key);
    assert_eq!(gateway.ask(&bearer("key-of-a")).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&bearer("key-of-b")).await.affinity(), ("false", "claimed", TWO));
    assert_eq!(gateway.ask(&api_key("key-of-a")).await.affinity(), ("true", "hit", ONE));
    assert_eq!(gateway.ask(&api_key("key-of-b")).await.affinity(), ("true", "hit", TWO));
    assert_eq!(upstream.count(), 4);
    for seen in upstream.seen() {
        let fields = format!("{:?}", seen.fields);
        assert!(!fields.contains("key-of-"), "{fields}");
    }
    assert!(!gateway.log().contains("key-of-"), "{}", gateway.log());
}

#[tokio::test]
async fn a_key_is_taken_where_each_sdk_puts_it_and_goes_nowhere_else() {
    let (upstream, _, gateway) = with(by_key).await;
    for (name, value) in
        [("authorization", "Bearer key-of-a"), ("x-api-key", "key-of-a"), ("api-key", "key-of-a")]
    {
        let target = "/v1/chat/completions?x=1&token=key%2Dof-a&key-of-a";
        let request = post(target, chat(ONE, "hello")).header(name, value);
        let odd = request.header("x-proxy", "token key-of-a").header("x-kept", "key-of-all");
        assert_eq!(gateway.ask(&odd).await.status, 200, "{name}");
        let seen = upstream.last();
        assert_eq!(seen.line, "POST /v1/chat/completions?x=1 HTTP/1.1", "{name}");
        assert!(seen.has("x-kept") && !seen.has("x-proxy") && !seen.has("api-key"), "{name}");
        let fields = format!("{:?}", seen.fields);
        assert!(!fields.contains("key-of-a\""), "{name}: {fields}");
    }
    let wrong = turn().header("api-key", "key-of-nobody");
    assert_eq!(gateway.ask(&wrong).await.refusal(), (401, "invalid_api_key".to_owned()));
}
