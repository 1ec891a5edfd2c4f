use super::*;
use crate::lab::testing::{Manner, gateway, terminal};

const MODELS: [&str; 2] = ["openai/gpt-4o-mini", "openai/gpt-5.2"];

const PINNED: &str = "\
Sessions       : 2
Rounds/session : 3
Requests       : 9 short questions to openai/gpt-4o-mini, charged by its provider as usual

============================================================
Phase 1: Requests WITHOUT X-Model-Affinity header
(model may vary between requests — that is expected)
============================================================
  Request 1: model = openai/gpt-4o-mini
  Request 2: model = openai/gpt-5.2
  Request 3: model = openai/gpt-4o-mini
  Models seen across 3 requests: {'openai/gpt-4o-mini', 'openai/gpt-5.2'}

============================================================
Phase 2: Requests WITH X-Model-Affinity (session pinning)
Each session should be pinned to exactly one model.
============================================================

Session 'demo-session-001':
  Round 1: model = openai/gpt-5.2 [FIRST — sets affinity]
  Round 2: model = openai/gpt-5.2 [PINNED]
  Round 3: model = openai/gpt-5.2 [PINNED]

Session 'demo-session-002':
  Round 1: model = openai/gpt-4o-mini [FIRST — sets affinity]
  Round 2: model = openai/gpt-4o-mini [PINNED]
  Round 3: model = openai/gpt-4o-mini [PINNED]

============================================================
Results
============================================================
PASS demo-session-001 -> always routed to 'openai/gpt-5.2'
PASS demo-session-002 -> always routed to 'openai/gpt-4o-mini'

All sessions were pinned consistently.
";

fn plan(url: &str, sessions: usize, rounds: usize) -> Plan {
    let (url, model) = (url.to_owned(), MODEL.to_owned());
    Plan { url, model, key: None, sessions, rounds, suffix: String::new() }
}

async fn check(manner: Manner, sessions: usize, rounds: usize) -> (bool, String) {
    let url = gateway(manner, MODELS).await;
    let (mut terminal, out, _) = terminal();
    let passed = run(&plan(&url, sessions, rounds), &mut terminal).await.unwrap();
    (passed, out.text())
}

#[tokio::test]
async fn a_gateway_that_pins_passes_also_when_asked_again() {
    let url = gateway(Manner::Pins, MODELS).await;
    let (mut terminal, out, err) = terminal();
    assert!(run(&plan(&url, 2, 3), &mut terminal).await.unwrap());
    let endpoint = format!("Plano endpoint : {url}/v1/chat/completions\n");
    assert_eq!(out.text(), format!("{endpoint}{PINNED}"));
    assert_eq!(err.text(), "");

    let (mut terminal, out, _) = crate::lab::testing::terminal();
    assert!(run(&plan(&url, 2, 3), &mut terminal).await.unwrap());
    assert!(out.text().contains("Round 1: model = openai/gpt-5.2 [PINNED]"), "{}", out.text());
    assert!(!out.text().contains("FIRST"), "{}", out.text());
}

#[tokio::test]
async fn a_session_that_is_not_kept_fails_whatever_the_gateway_says() {
    let names = "{'openai/gpt-4o-mini', 'openai/gpt-5.2'}";
    for (manner, mark, result) in [
        (Manner::Ignores, "[NOT PINNED]", format!("saw 2 models: {names}")),
        (Manner::Pretends, "[PINNED]", format!("saw 2 models: {names}")),
        (Manner::Swaps, "[PINNED]", format!("the answers name several models: {names}")),
        (Manner::Silent, "[NOT PINNED]", "2 round(s) were not pinned".to_owned()),
    ] {
        let (passed, out) = check(manner, 1, 3).await;
        assert!(!passed);
        assert!(out.contains(mark), "{out}");
        assert!(out.contains(&format!("FAIL demo-session-001 -> {result}\n")), "{out}");
        assert!(out.ends_with("\nNot all sessions were pinned consistently.\n"), "{out}");
    }
}

#[tokio::test]
async fn nothing_checked_is_not_a_pass() {
    for (sessions, rounds) in [(0, 4), (3, 0)] {
        let (passed, out) = check(Manner::Pins, sessions, rounds).await;
        assert!(!passed);
        assert_eq!(out, "");
    }
}

#[tokio::test]
async fn a_gateway_that_refuses_fails_with_its_message() {
    let app = axum::Router::new().fallback(|| async {
        let error = json!({"error": {"message": "no \u{1b}[31mkey"}});
        (http::StatusCode::UNAUTHORIZED, axum::Json(error))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (mut terminal, _, err) = terminal();
    assert!(!run(&plan(&url, 1, 2), &mut terminal).await.unwrap());
    assert_eq!(err.text(), "verify: the gateway answered 401 Unauthorized: no [31mkey\n");
}
