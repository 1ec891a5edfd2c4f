//! Draining a model: no new sessions, and those that live are kept, or moved once.

use std::collections::BTreeSet;

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::redis::RedisServer;
use affinity_tests::{Answer, Gateway, ModelRouter, Setup, Upstream, post, until};
use serde_json::{Value, json};

use crate::replicas::two;
use crate::{Admin, audit, delete, part, turn, with_admin};

fn path(model: &str) -> String {
    format!("/admin/v1/models/{}/drain", part(model))
}

async fn drain(admin: &Admin, model: &str, how: Value) {
    let answer = admin.ask(post(&path(model), how)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) admin: Admin,
    pub(crate) router: ModelRouter,
    pub(crate) _upstream: Upstream,
}

pub(crate) async fn start() -> Running {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let setup = with_admin(Setup::routed(&upstream, &router)).routing("expose_epoch: true");
    let gateway = setup.start().await;
    let admin = Admin::of(&gateway).await;
    Running { gateway, admin, router, _upstream: upstream }
}

/// Begins sessions; which of them have the first model, and the epoch of each.
async fn begin(gateway: &Gateway, count: usize) -> Vec<(String, bool, u64)> {
    let mut sessions = Vec::new();
    for n in 0..count {
        let session = format!("s-{n}");
        let answer = gateway.ask(&turn(&session)).await;
        assert_eq!(answer.affinity().1, "claimed");
        let epoch = answer.header("x-plano-epoch").unwrap().parse().unwrap();
        sessions.push((session, answer.affinity().2 == ONE, epoch));
    }
    sessions
}

#[tokio::test]
async fn each_session_of_a_drained_model_moves_once() {
    for to in [None, Some(TWO)] {
        let Running { gateway, admin, router, _upstream } = start().await;
        let sessions = begin(&gateway, 50).await;
        assert_eq!(sessions.iter().filter(|(_, moves, _)| *moves).count(), 25);
        let calls = router.calls();
        drain(&admin, ONE, json!({"sessions": "move", "to": to})).await;
        for (session, moves, before) in &sessions {
            let first = gateway.ask(&turn(session)).await;
            let (pinned, outcome, model) = first.affinity();
            let epoch: u64 = first.header("x-plano-epoch").unwrap().parse().unwrap();
            if *moves {
                assert_eq!((pinned, outcome), ("false", "repinned"), "{session}");
                assert!(model != ONE && to.is_none_or(|to| to == model), "{model}");
                assert!(epoch > *before);
            } else {
                assert_eq!((pinned, outcome, epoch), ("true", "hit", *before));
            }
            for _ in 0..2 {
                let later = gateway.ask(&turn(session)).await;
                assert_eq!(later.affinity(), ("true", "hit", model));
                assert_eq!(later.header("x-plano-epoch"), Some(epoch.to_string().as_str()));
            }
        }
        assert_eq!(router.calls() - calls, if to.is_some() { 0 } else { 25 });
    }
}

#[tokio::test]
async fn a_kept_session_stays_and_no_new_one_comes() {
    let Running { gateway, admin, router, _upstream } = start().await;
    let sessions = begin(&gateway, 4).await;
    drain(&admin, ONE, json!({"sessions": "keep"})).await;
    for (session, has_it, _) in &sessions {
        let model = if *has_it { ONE } else { TWO };
        assert_eq!(gateway.ask(&turn(session)).await.affinity(), ("true", "hit", model));
    }
    for n in 0..10 {
        let new = turn(&format!("new-{n}"));
        assert_ne!(gateway.ask(&new).await.affinity().2, ONE);
    }
    drain(&admin, DEFAULT, json!({})).await;
    for n in 0..10 {
        let new = turn(&format!("newer-{n}"));
        assert_eq!(gateway.ask(&new).await.affinity().2, TWO);
    }
    let known = admin.get("/admin/v1/drains").await;
    let models: Vec<_> = known["drains"].as_array().unwrap().iter().collect();
    assert_eq!((&models[0]["model"], &models[0]["sessions"]), (&json!(ONE), &json!("keep")));
    assert_eq!(models[1]["model"], DEFAULT);
    assert_eq!(admin.ask(delete(&path(ONE))).await.status, 200);
    assert_eq!(admin.ask(delete(&path(DEFAULT))).await.status, 200);
    assert_eq!(admin.get("/admin/v1/drains").await, json!({"drains": []}));
    let calls = router.calls();
    let (first, second) = (gateway.ask(&turn("x")).await, gateway.ask(&turn("y")).await);
    assert!([first.affinity().2, second.affinity().2].contains(&ONE), "it is given again");
    assert_eq!(router.calls(), calls + 2);
    until(async || audit(&gateway).len() == 4).await;
}

#[tokio::test]
async fn a_drained_model_is_not_what_a_request_falls_back_to() {
    let upstream = Upstream::echo().await;
    // Nobody is there to decide.
    let setup = with_admin(Setup::new(&upstream.url()).router("http://127.0.0.1:1", 100));
    let gateway = setup.start().await;
    let admin = Admin::of(&gateway).await;
    let outage = gateway.ask(&turn("s")).await;
    assert_eq!(outage.affinity(), ("false", "router-unavailable", DEFAULT));
    drain(&admin, DEFAULT, json!({"to": TWO})).await;
    let outage = gateway.ask(&turn("s")).await;
    assert_eq!(outage.affinity(), ("false", "router-unavailable", TWO));
    drain(&admin, TWO, json!({})).await;
    assert_eq!(gateway.ask(&turn("s")).await.affinity().2, ONE);
    drain(&admin, ONE, json!({})).await;
    assert_eq!(gateway.ask(&turn("s")).await.refusal(), (503, "models_drained".to_owned()));
}

#[tokio::test]
async fn nobody_fails_over_to_a_drained_model() {
    // The provider of TWO fails when it is told to, and ONE is the other candidate of its route.
    let upstream = Upstream::start(|seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let fails = body.contains("claude") && body.contains("fail");
        let status = if fails { "503 Service Unavailable" } else { "200 OK" };
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
        Answer::Bytes(format!("{head}content-length: 2\r\n\r\n{{}}").into_bytes())
    });
    let (upstream, router) = (upstream.await, ModelRouter::start().await);
    let gateway = with_admin(Setup::routed(&upstream, &router)).start().await;
    let admin = Admin::of(&gateway).await;
    let failing = |session: &str| {
        let message = json!({"role": "user", "content": "fail"});
        let body = json!({"model": DEFAULT, "messages": [message]});
        post("/v1/chat/completions", body).session(session)
    };
    for (session, model) in [("skip", ONE), ("a", TWO), ("skip-2", ONE), ("b", TWO)] {
        assert_eq!(gateway.ask(&turn(session)).await.affinity(), ("false", "claimed", model));
    }
    assert_eq!(gateway.ask(&failing("a")).await.affinity(), ("false", "repinned", ONE));
    drain(&admin, ONE, json!({})).await;
    let answer = gateway.ask(&failing("b")).await;
    assert_eq!((answer.status, answer.affinity()), (503, ("false", "failed", TWO)));
    assert_eq!(gateway.ask(&turn("a")).await.affinity(), ("true", "hit", ONE), "it is kept");
}

/// Many requests of one session at two replicas, while its model is being drained.
#[tokio::test]
async fn a_session_moves_once_however_many_ask_and_wherever() {
    let redis = RedisServer::start().await;
    let (a, b, _ends) = two(&redis, "").await;
    let admin = Admin::of(&a).await;
    let known = async |admin: &Admin| admin.get("/admin/v1/drains").await["drains"] != json!([]);
    for n in 0..10 {
        let session = format!("s-{n}");
        let model = a.ask(&turn(&session)).await.affinity().2.to_owned();
        drain(&admin, &model, json!({"sessions": "move"})).await;
        let at_b = Admin::of(&b).await;
        until(async || known(&at_b).await).await;
        let mut asked = tokio::task::JoinSet::new();
        for gateway in [&a, &b] {
            for _ in 0..8 {
                let (mut connection, turn) = (gateway.connect().await, turn(&session));
                asked.spawn(async move { connection.ask(&turn).await });
            }
        }
        let answers = asked.join_all().await;
        let models: BTreeSet<_> = answers.iter().map(|answer| answer.affinity().2).collect();
        assert_eq!(models.len(), 1, "{answers:?}");
        assert!(!models.contains(model.as_str()), "{models:?}");
        assert_eq!(admin.ask(delete(&path(&model))).await.status, 200);
        until(async || !known(&at_b).await).await;
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let Running { gateway, admin, .. } = start().await;
    drain(&admin, TWO, json!({})).await;
    for (path, body, status, code) in [
        (path("nobody/serves-it"), json!({}), 404, "model_not_found"),
        (path(ONE), json!({"to": "nobody/serves-it"}), 404, "model_not_found"),
        (path(ONE), json!({"to": ONE}), 400, "invalid_target"),
        (path(ONE), json!({"to": TWO}), 409, "model_drained"),
        (path(ONE), json!({"sessions": "lose"}), 400, "invalid_json"),
        (path(ONE), json!("{"), 400, "invalid_json"),
        ("/admin/v1/models/openai/gpt-4o".to_owned(), json!({}), 404, "not_found"),
        ("/admin/v1/models/%FF/drain".to_owned(), json!({}), 404, "not_found"),
        ("/admin/v1/pins/move".to_owned(), json!({"from": ONE, "to": TWO}), 409, "model_drained"),
        ("/admin/v1/pins/other".to_owned(), json!({}), 405, "method_not_allowed"),
        ("/admin/v1/pins/move".to_owned(), json!({"from": ONE}), 400, "invalid_json"),
        ("/admin/v1/pins/move".to_owned(), json!({"from": ONE, "to": "x"}), 404, "model_not_found"),
        ("/admin/v1/pins/move".to_owned(), json!({"from": ONE, "to": ONE}), 400, "invalid_target"),
    ] {
        let refused = admin.ask(post(&path, &body)).await.refusal();
        assert_eq!(refused, (status, code.to_owned()), "{path} {body}");
    }
    assert_eq!(admin.ask(delete(&path(ONE))).await.refusal(), (404, "not_drained".to_owned()));
    let unknown = admin.ask(delete(&path("nobody/serves-it"))).await.refusal();
    assert_eq!(unknown, (404, "model_not_found".to_owned()));
    assert_eq!(audit(&gateway).len(), 1);
}

#[tokio::test]
async fn all_replicas_drain_what_one_is_told_to() {
    let redis = RedisServer::start().await;
    let (a, b, _ends) = two(&redis, "").await;
    let (at_a, at_b) = (Admin::of(&a).await, Admin::of(&b).await);
    drain(&at_a, ONE, json!({"sessions": "move", "to": TWO})).await;
    let known = async |admin: &Admin| admin.get("/admin/v1/drains").await;
    let told = tokio::time::timeout(
        std::time::Duration::from_secs(3),
        until(async || known(&at_b).await == known(&at_a).await),
    );
    told.await.expect("the other knows within three seconds");
    for n in 0..6 {
        assert_eq!(b.ask(&turn(&format!("s-{n}"))).await.affinity().2, TWO);
    }
    let listed = at_b.get("/admin/v1/pins").await;
    assert_eq!(listed["pins"].as_array().unwrap().len(), 6, "what is drained is no pin");
    redis.kill();
    let away = (503, "store_unavailable".to_owned());
    assert_eq!(at_b.ask(post(&path(DEFAULT), json!({}))).await.refusal(), away);
    assert_eq!(at_b.ask(delete(&path(ONE))).await.refusal(), away);
    assert_eq!(known(&at_b).await["drains"][0]["model"], ONE, "what was known stays");
}
