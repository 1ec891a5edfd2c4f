//! Agent clients as they are: their own headers, side calls, sub-agents and probes.

use affinity_layer::{
    AffinityLayer, AnswerLayer, BoxError, MemoryStore,
    agents::SubAgents,
    ext::{NewTurn, Probe, RequestedModel},
};
use axum::body::Body;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

fn asking(wanted: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = post(headers);
    request.extensions_mut().insert(RequestedModel(model(wanted)));
    request
}

fn gateway(sub_agents: SubAgents) -> Stack {
    stack(layer(Calls::default().router()).agents(sub_agents).model_lanes(true))
}

#[tokio::test]
async fn each_client_of_the_preset_is_known_by_its_header() {
    for name in [
        "x-claude-code-session-id",
        "session-id",
        "session_id",
        "x-session-affinity",
        "x-task-id",
        "x-dynamo-session-id",
        "x-affinity",
        "x-opencode-session",
        "x-litellm-session-id",
        "x-amp-thread-id",
        "x-hermes-session-id",
        "x-cagent-session-id",
        "x-grok-conv-id",
        "x-bf-session-id",
        "x-switchyard-session-id",
    ] {
        let service = gateway(SubAgents::Inherit);
        let turn = || asking("vendor/big", &[(name, "s")]);
        assert_eq!(send(&service, turn()).await, said("vendor/m1", false, "claimed"), "{name}");
        assert_eq!(send(&service, turn()).await, said("vendor/m1", true, "hit"), "{name}");
        let bare = stack(layer(Calls::default().router()));
        assert_eq!(send(&bare, turn()).await.affinity, "none", "{name}: only with the preset");
    }
}

#[tokio::test]
async fn the_features_own_header_comes_first() {
    let service = gateway(SubAgents::Inherit);
    let both = [("x-claude-code-session-id", "agent"), ("x-model-affinity", "own")];
    let request = asking("vendor/big", &both);
    assert_eq!(send(&service, request).await.affinity, "claimed");
    let agent = asking("vendor/big", &[("x-claude-code-session-id", "agent")]);
    assert_eq!(send(&service, agent).await.affinity, "claimed", "another session");
}

#[tokio::test]
async fn what_names_a_request_or_a_program_names_no_session() {
    for name in ["x-client-request-id", "user-agent"] {
        let service = gateway(SubAgents::Inherit);
        for n in 1..=2 {
            let turn = asking("vendor/big", &[(name, "s")]);
            assert_eq!(send(&service, turn).await, said(&format!("vendor/m{n}"), false, "none"));
        }
    }
}

/// goose counts its sessions by day and home, so strangers send the same number.
#[tokio::test]
async fn a_counter_names_a_session_only_together_with_the_opening() {
    let turn = |counter: &str, opening: &str, turns: usize| {
        let clock = format!("<info-msg>\nIt is 12:0{turns}\n</info-msg>");
        let mut messages = vec![serde_json::json!({"role": "user", "content": opening})];
        for n in 0..turns {
            messages.push(serde_json::json!({"role": "assistant", "content": format!("{n}")}));
            messages.push(serde_json::json!({"role": "user", "content": format!("{clock}more")}));
        }
        // The block is in the last of its messages.
        if turns == 0 {
            messages[0]["content"] = serde_json::json!(format!("{clock}{opening}"));
        }
        let body = serde_json::json!({"messages": messages}).to_string();
        post(&[("agent-session-id", counter)]).map(|_| Body::from(body))
    };
    let service = stack(layer(Calls::default().router()).agents(SubAgents::Inherit));
    let ask = async |counter, opening, turns| send(&service, turn(counter, opening, turns)).await;
    assert_eq!(ask("20261130_1", "hello", 0).await, said("vendor/m1", false, "claimed"));
    let stranger = ask("20261130_1", "bye", 0).await;
    assert_eq!(stranger, said("vendor/m2", false, "claimed"), "the same counter");
    let next = ask("20261130_2", "hello", 0).await;
    assert_eq!(next, said("vendor/m3", false, "claimed"), "the same opening");
    for turns in 1..4 {
        assert_eq!(ask("20261130_1", "hello", turns).await, said("vendor/m1", true, "hit"));
        assert_eq!(ask("20261130_1", "bye", turns).await, said("vendor/m2", true, "hit"));
    }
    let none = ask("", "hello", 0).await;
    assert_eq!(none.affinity, "none", "an empty counter counts nothing");

    let without_preset = stack(layer(Calls::default().router()));
    assert_eq!(send(&without_preset, turn("20261130_1", "hello", 0)).await.affinity, "none");
}

/// OpenCode asks a small model for a title first, under the session id of its main loop, which it
/// also sends as `x-session-id`.
#[tokio::test]
async fn a_side_call_does_not_take_the_main_loop_over() {
    let service = gateway(SubAgents::Inherit);
    let headers = [("x-session-affinity", "s"), ("x-session-id", "s")];
    let title = || asking("vendor/small", &headers);
    let turn = || asking("vendor/big", &headers);
    assert_eq!(send(&service, title()).await, said("vendor/m1", false, "claimed"));
    assert_eq!(send(&service, turn()).await, said("vendor/m2", false, "claimed"));
    assert_eq!(send(&service, title()).await, said("vendor/m1", true, "hit"));
    assert_eq!(send(&service, turn()).await, said("vendor/m2", true, "hit"));
}

#[tokio::test]
async fn who_names_a_session_by_hand_means_one_session() {
    let service = gateway(SubAgents::Own);
    for (n, wanted) in ["vendor/small", "vendor/big", "vendor/small"].iter().enumerate() {
        let answer = send(&service, asking(wanted, &[("x-model-affinity", "s")])).await;
        assert_eq!((answer.model.as_str(), answer.pinned == "true"), ("vendor/m1", n > 0));
    }
}

#[tokio::test]
async fn a_sub_agent_inherits_or_has_its_own_model() {
    let main = [("x-claude-code-session-id", "s")];
    let sub = [("x-claude-code-session-id", "s"), ("x-claude-code-agent-id", "a1")];
    for (setting, affinity) in [(SubAgents::Inherit, "hit"), (SubAgents::Own, "claimed")] {
        let service = gateway(setting);
        assert_eq!(send(&service, asking("vendor/big", &main)).await.affinity, "claimed");
        assert_eq!(send(&service, asking("vendor/big", &sub)).await.affinity, affinity);
        assert_eq!(send(&service, asking("vendor/big", &sub)).await.affinity, "hit");
        assert_eq!(send(&service, asking("vendor/big", &main)).await.model, "vendor/m1");
    }
}

/// Claude Code's main loop waits for the answer of its sub-agent, which begins with a user message
/// and ends with a final answer.
#[tokio::test]
async fn a_sub_agent_neither_moves_nor_ends_the_pin_that_it_shares() {
    let main = [("x-claude-code-session-id", "s")];
    let sub = [("x-claude-code-session-id", "s"), ("x-claude-code-agent-id", "a1")];
    for (setting, opening) in [(SubAgents::Inherit, "hit"), (SubAgents::Own, "claimed")] {
        let service = releasing(setting);
        assert_eq!(answered(&service, &main, false, "tool_calls").await, "claimed");
        assert_eq!(answered(&service, &sub, true, "stop").await, opening);
        assert_eq!(answered(&service, &main, false, "tool_calls").await, "hit");
        // What the sub-agent may not do, the user's next turn does.
        assert_eq!(answered(&service, &main, true, "stop").await, "refreshed");
        assert_eq!(answered(&service, &main, false, "stop").await, "claimed");
    }
}

/// Pins end with the model's final answer; each request brings the answer that it will get.
fn releasing(sub_agents: SubAgents) -> Stack {
    let service = ServiceBuilder::new()
        .layer(layer(Calls::default().router()).agents(sub_agents))
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new().final_answer(true))
        .map_response(|mut answer: Response<Body>| {
            let json = HeaderValue::from_static("application/json");
            answer.headers_mut().insert(header::CONTENT_TYPE, json);
            answer
        })
        .service(service_fn(echo));
    BoxCloneSyncService::new(service.map_err(BoxError::from))
}

/// What `x-plano-affinity` says of an answer that was read to its end.
async fn answered(
    service: &Stack,
    headers: &[(&str, &str)],
    opens_turn: bool,
    reason: &str,
) -> String {
    let mut request = asking("vendor/big", headers);
    if opens_turn {
        request.extensions_mut().insert(NewTurn);
    }
    *request.body_mut() = format!(r#"{{"choices":[{{"finish_reason":"{reason}"}}]}}"#).into();
    let answer = service.clone().oneshot(request).await.unwrap();
    let affinity = answer.headers()["x-plano-affinity"].to_str().unwrap().to_owned();
    answer.into_body().collect().await.unwrap();
    affinity
}

/// Codex says under `x-openai-subagent` what a sub-agent is for; there may be many of one kind.
#[tokio::test]
async fn sub_agents_of_one_kind_have_a_model_each() {
    let service = gateway(SubAgents::Own);
    let thread =
        |id| [("session-id", "s"), ("x-openai-subagent", "collab_spawn"), ("thread-id", id)];
    for (headers, expected) in [(thread("t1"), "vendor/m1"), (thread("t2"), "vendor/m2")] {
        let answer = send(&service, asking("vendor/big", &headers)).await;
        assert_eq!(answer, said(expected, false, "claimed"));
    }
    let again = asking("vendor/big", &thread("t1"));
    assert_eq!(send(&service, again).await, said("vendor/m1", true, "hit"));
    let main = [("session-id", "s"), ("thread-id", "s")];
    assert_eq!(send(&service, asking("vendor/big", &main)).await.affinity, "claimed");
    let kind = [("session-id", "s"), ("x-openai-subagent", "review")];
    assert_eq!(send(&service, asking("vendor/big", &kind)).await.affinity, "claimed");
}

/// The sub-agents of OpenCode and Dynamo have a session id of their own, and name their parent's.
#[tokio::test]
async fn a_sub_agent_that_names_its_parent_is_its_guest() {
    let opencode = |id| vec![("x-session-affinity", id), ("x-session-id", id)];
    let dynamo = |id| vec![("x-dynamo-session-id", id)];
    for (main, mut sub, parent) in [
        (opencode("p"), opencode("c"), "x-parent-session-id"),
        (dynamo("p"), dynamo("c"), "x-dynamo-parent-session-id"),
    ] {
        let id = sub.clone();
        sub.push((parent, "p"));
        for (setting, opening) in [(SubAgents::Inherit, "hit"), (SubAgents::Own, "claimed")] {
            let service = releasing(setting);
            assert_eq!(answered(&service, &main, false, "tool_calls").await, "claimed");
            assert_eq!(answered(&service, &sub, true, "stop").await, opening, "{parent}");
            assert_eq!(answered(&service, &main, false, "tool_calls").await, "hit", "{parent}");
            assert_eq!(answered(&service, &id, false, "stop").await, "claimed", "no parent named");
        }
        let service = gateway(SubAgents::Inherit);
        for bad in ["a,b", ""] {
            let mut sub = id.clone();
            sub.push((parent, bad));
            assert_eq!(send(&service, asking("vendor/big", &sub)).await.status, 400, "{bad}");
        }
    }
}

#[tokio::test]
async fn a_parent_counts_for_the_client_that_it_belongs_to() {
    let service = gateway(SubAgents::Inherit);
    let parent = [("x-model-affinity", "p")];
    assert_eq!(send(&service, asking("vendor/big", &parent)).await.affinity, "claimed");
    for headers in [
        &[("x-model-affinity", "a"), ("x-parent-session-id", "p")][..],
        &[("x-model-affinity", "b"), ("x-session-affinity", "c"), ("x-parent-session-id", "p")],
        &[("x-dynamo-session-id", "d"), ("x-parent-session-id", "p")],
    ] {
        let answer = send(&service, asking("vendor/big", headers)).await;
        assert_eq!(answer.affinity, "claimed", "{headers:?}");
    }
}

#[tokio::test]
async fn a_probe_reads_a_pin_and_makes_none() {
    let store = MemoryStore::default();
    let calls = Calls::default();
    let service = stack(AffinityLayer::new(store.clone(), calls.router()));
    let probe = |headers: &[(&str, &str)]| {
        let mut request = asking("vendor/asked", headers);
        request.extensions_mut().insert(Probe);
        request
    };
    let session = [("x-model-affinity", "s")];
    assert_eq!(send(&service, probe(&session)).await, said("vendor/asked", false, "none"));
    assert_eq!(send(&service, probe(&[])).await, said("vendor/asked", false, "none"));
    assert_eq!((calls.count(), store.len()), (0, 0));
    turn(&service, "s").await;
    assert_eq!(send(&service, probe(&session)).await, said("vendor/m1", true, "hit"));
}

#[tokio::test]
async fn a_bad_id_of_an_agent_is_refused_like_any() {
    let service = gateway(SubAgents::Own);
    for headers in [
        &[("session-id", "a,b")][..],
        &[("x-claude-code-session-id", "s"), ("x-claude-code-agent-id", "a b")],
    ] {
        assert_eq!(send(&service, asking("vendor/big", headers)).await.status, 400);
    }
}
