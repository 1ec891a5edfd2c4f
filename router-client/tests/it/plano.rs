use router_client::PlanoRouter;
use serde_json::json;
use tower::ServiceExt;

use crate::server::Server;
use crate::{models_of, question};

#[tokio::test]
async fn the_body_goes_whole_to_the_path_of_its_protocol() {
    for (path, expected) in [
        ("/v1/chat/completions", "POST /routing/v1/chat/completions"),
        ("/v1/messages?beta=true", "POST /routing/v1/messages"),
        ("/v1/responses", "POST /routing/v1/responses"),
        ("/elsewhere", "POST /routing/v1/chat/completions"),
    ] {
        let answer = json!({"models": ["a/b", "c/d"], "model": "a/b", "route": "code",
            "trace_id": "0", "pinned": false})
        .to_string();
        let server = Server::start(move |_| answer.clone()).await;
        let body = json!({"model": "auto", "unknown": {"b": 1, "a": "é"},
            "routing_preferences": [{"name": "n", "description": "d", "models": ["x/y"]}]});
        let request = question(path, &body);
        let sent = request.body.clone();
        let decided = PlanoRouter::new(server.url("/")).oneshot(request).await.unwrap();

        assert_eq!(decided.models, models_of(&["a/b", "c/d"]));
        assert_eq!(decided.route.unwrap().as_str(), "code");
        let (line, headers, received) = server.only();
        assert_eq!(line, expected);
        assert_eq!(received, sent);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["x-request-id"], "request-1");
        assert_eq!(headers["tracestate"], "vendor=1");
        assert!(headers.contains_key("traceparent"));
        for kept_back in ["authorization", "x-api-key", "cookie", "x-model-affinity", "x-tenant"] {
            assert!(!headers.contains_key(kept_back), "{kept_back}");
        }
    }
}

#[tokio::test]
async fn none_is_no_match() {
    let server = Server::start(|_| r#"{"models":["none"],"route":null}"#).await;
    let request = question("/v1/messages", &json!({"messages": []}));
    let decided = PlanoRouter::new(server.url("")).oneshot(request).await.unwrap();
    assert!(decided.models.is_empty() && decided.route.is_none());
}
