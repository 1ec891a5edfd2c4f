//! Session ids in the body, for clients that send none in a header.

use affinity_layer::{
    AffinityLayer, BodyId, MemoryStore, RouterService, Scope, agents::SubAgents,
    ext::RequestedModel, key::BodyIds,
};
use axum::body::Body;
use http::{HeaderName, Request};

use crate::common::*;

const ALL: [BodyId; 6] = [
    BodyId::SessionId,
    BodyId::MetadataSessionId,
    BodyId::PromptCacheKey,
    BodyId::Conversation,
    BodyId::UserId,
    BodyId::PreviousResponseId,
];
const UUID: &str = "3f1c0d52-8a77-4e0b-9c11-0123456789ab";

fn reading(router: impl RouterService) -> AffinityLayer<MemoryStore> {
    layer(router).body_ids(ALL)
}

fn sending(body: &str) -> Request<Body> {
    post(&[]).map(|_| Body::from(body.to_owned()))
}

#[tokio::test]
async fn each_member_alone_holds_one_model() {
    let user_id = format!(r#"{{"metadata":{{"user_id":"user_1_account__session_{UUID}"}}}}"#);
    for (source, body) in [
        (BodyId::SessionId, r#"{"session_id":"s"}"#),
        (BodyId::MetadataSessionId, r#"{"metadata":{"session_id":"s"}}"#),
        (BodyId::PromptCacheKey, r#"{"prompt_cache_key":"s"}"#),
        (BodyId::Conversation, r#"{"conversation":"s"}"#),
        (BodyId::Conversation, r#"{"conversation":{"id":"s"}}"#),
        (BodyId::UserId, &user_id),
    ] {
        let service = stack(layer(Calls::default().router()).body_ids([source]));
        assert_eq!(send(&service, sending(body)).await, said("vendor/m1", false, "claimed"));
        assert_eq!(send(&service, sending(body)).await, said("vendor/m1", true, "hit"), "{body}");
        let others = ALL.into_iter().filter(|other| *other != source);
        let service = stack(layer(Calls::default().router()).body_ids(others));
        assert_eq!(send(&service, sending(body)).await.affinity, "none", "{source:?} is off");
    }
}

#[tokio::test]
async fn without_being_asked_for_nothing_of_the_body_is_read() {
    let service = stack(layer(Calls::default().router()));
    for n in 1..=2 {
        let answer = send(&service, sending(r#"{"prompt_cache_key":"s"}"#)).await;
        assert_eq!(answer, said(&format!("vendor/m{n}"), false, "none"));
    }
    let passing = stack(layer(Calls::default().router()).route_unkeyed(false));
    let unread = post(&[]).map(|_| Body::new(Unreadable));
    let response = tower::ServiceExt::oneshot(passing, unread).await.unwrap();
    assert_eq!(response.headers()["given"], "nothing");
}

/// A body that must not be read.
struct Unreadable;

impl http_body::Body for Unreadable {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        panic!("the body was read")
    }
}

#[tokio::test]
async fn a_header_comes_first_and_its_hit_reads_no_body() {
    let service = stack(reading(Calls::default().router()).agents(SubAgents::Inherit));
    for header in ["x-model-affinity", "x-claude-code-session-id"] {
        let both = || {
            let body = Body::from(r#"{"prompt_cache_key":"b"}"#);
            post(&[(header, header)]).map(|_| body)
        };
        assert_eq!(send(&service, both()).await.affinity, "claimed");
        assert_eq!(send(&service, both()).await.affinity, "hit");
        let unread = post(&[(header, header)]).map(|_| Body::new(Unreadable));
        let response = tower::ServiceExt::oneshot(service.clone(), unread).await.unwrap();
        assert_eq!(response.headers()["x-plano-affinity"], "hit");
    }
    let alone = send(&service, sending(r#"{"prompt_cache_key":"b"}"#)).await;
    assert_eq!(alone.affinity, "claimed", "the body's id was not used before");
}

#[tokio::test]
async fn ids_of_different_kinds_never_meet() {
    let calls = Calls::default();
    let service = stack(reading(calls.router()));
    let user_id = format!(r#"{{"metadata":{{"user_id":"_session_{UUID}"}}}}"#);
    let bodies = [
        format!(r#"{{"prompt_cache_key":"{UUID}"}}"#),
        format!(r#"{{"conversation":"{UUID}"}}"#),
        user_id,
    ];
    for body in &bodies {
        assert_eq!(send(&service, sending(body)).await.affinity, "claimed", "{body}");
    }
    for forged in [
        UUID.to_owned(),
        format!("%prompt_cache_key={UUID}"),
        format!("%conversation={UUID}"),
        format!("%user_id={UUID}"),
        format!("%25conversation={UUID}"),
    ] {
        let header = post(&[("x-model-affinity", &forged)]);
        assert_eq!(send(&service, header).await.affinity, "claimed", "{forged}");
        let cached = sending(&format!(r#"{{"prompt_cache_key":"{forged}%"}}"#));
        assert_eq!(send(&service, cached).await.affinity, "claimed", "{forged}");
    }
    assert_eq!(calls.count(), 13);
    for body in &bodies {
        assert_eq!(send(&service, sending(body)).await.affinity, "hit", "{body}");
    }
}

#[tokio::test]
async fn a_tenant_is_needed_as_for_a_header_and_keeps_ids_apart() {
    let tenant = HeaderName::from_static("x-tenant");
    let service = stack(reading(Calls::default().router()).tenant_header(tenant));
    let body = r#"{"conversation":"c"}"#;
    assert_eq!(send(&service, sending(body)).await.status, 400);
    assert_eq!(send(&service, sending("{}")).await, said("vendor/m1", false, "none"));
    let of = |tenant: &str| {
        let mut request = sending(body);
        request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
        request
    };
    assert_eq!(send(&service, of("a")).await, said("vendor/m2", false, "claimed"));
    assert_eq!(send(&service, of("b")).await, said("vendor/m3", false, "claimed"));
    assert_eq!(send(&service, of("a")).await, said("vendor/m2", true, "hit"));
    let mut scoped = sending(body);
    scoped.extensions_mut().insert(Scope::new("b").unwrap());
    assert_eq!(send(&service, scoped).await, said("vendor/m3", true, "hit"));
}

#[tokio::test]
async fn ids_that_were_read_outside_are_taken_over_and_the_body_is_not_read() {
    let service = stack(reading(Calls::default().router()));
    let read = |id: &'static [u8]| BodyIds::read(|name| (name == "conversation").then_some(id));
    assert_eq!(send(&service, sending(r#"{"conversation":"c"}"#)).await.affinity, "claimed");
    let mut given = post(&[]).map(|_| Body::new(Unreadable));
    given.extensions_mut().insert(read(b"\"c\""));
    let response = tower::ServiceExt::oneshot(service.clone(), given).await.unwrap();
    assert_eq!(response.headers()["x-plano-affinity"], "hit");

    let bare = stack(layer(Calls::default().router()));
    let mut given = sending("{}");
    given.extensions_mut().insert(read(b"\"c\""));
    assert_eq!(send(&bare, given).await.affinity, "none", "the layer was not asked to");
}

#[tokio::test]
async fn side_calls_of_claude_code_have_a_lane_and_hand_made_ids_have_none() {
    let body = format!(r#"{{"metadata":{{"user_id":"_session_{UUID}"}}}}"#);
    for (body, lanes) in [(body.as_str(), true), (r#"{"prompt_cache_key":"s"}"#, false)] {
        let service = stack(reading(Calls::default().router()).model_lanes(true));
        let asking = |wanted: &str| {
            let mut request = sending(body);
            request.extensions_mut().insert(RequestedModel(model(wanted)));
            request
        };
        assert_eq!(send(&service, asking("vendor/small")).await.model, "vendor/m1");
        let main = if lanes { "vendor/m2" } else { "vendor/m1" };
        assert_eq!(send(&service, asking("vendor/big")).await.model, main);
        assert_eq!(send(&service, asking("vendor/small")).await.model, "vendor/m1");
        assert_eq!(send(&service, asking("vendor/big")).await, said(main, true, "hit"));
    }
}

#[tokio::test]
async fn a_response_begins_a_session_only_where_later_ones_may_follow_it() {
    let begins = |ids: &[BodyId]| {
        let service = stack(layer(Calls::default().router()).body_ids(ids.iter().copied()));
        let mut request = sending(r#"{"input":"hello"}"#);
        *request.uri_mut() = "/v1/responses".parse().unwrap();
        async move { send(&service, request).await.affinity }
    };
    assert_eq!(begins(&[BodyId::PreviousResponseId]).await, "claimed");
    assert_eq!(begins(&[BodyId::PromptCacheKey]).await, "none");
}

#[tokio::test]
async fn unkeyed_requests_that_are_not_routed_pass_with_their_body() {
    let service = stack(reading(Calls::default().router()).route_unkeyed(false));
    let body = r#"{"prompt_cache_key":7}"#;
    let response = tower::ServiceExt::oneshot(service.clone(), sending(body)).await.unwrap();
    assert_eq!(response.headers()["given"], "nothing");
    let passed = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
    assert_eq!(passed, body);
    let named = send(&service, sending(r#"{"prompt_cache_key":"s"}"#)).await;
    assert_eq!(named.affinity, "claimed");
}
