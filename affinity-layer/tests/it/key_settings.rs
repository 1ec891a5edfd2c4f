//! What the settings say about where a key comes from.

use affinity_layer::{
    agents::SubAgents,
    ext::{AnyModel, RequestedModel},
};
use axum::body::Body;
use http::{HeaderName, Request};

use crate::common::*;

const AGENT: (&str, &str) = ("x-claude-code-session-id", "s");

fn asking(wanted: &str) -> Request<Body> {
    let mut request = post(&[AGENT]);
    request.extensions_mut().insert(RequestedModel(model(wanted)));
    request
}

#[tokio::test]
async fn headers_of_choice_take_the_place_of_those_by_default() {
    let service = stack(
        layer(Calls::default().router())
            .session_headers([HeaderName::from_static("x-conversation")]),
    );
    let turn = || post(&[("x-conversation", "s")]);
    assert_eq!(send(&service, turn()).await, said("vendor/m1", false, "claimed"));
    assert_eq!(send(&service, turn()).await, said("vendor/m1", true, "hit"));
    assert_eq!(send(&service, post(&[("x-model-affinity", "s")])).await.affinity, "none");
}

#[tokio::test]
async fn the_session_in_baggage_counts_only_where_it_is_asked_for_and_after_the_headers() {
    let service = stack(layer(Calls::default().router()).baggage_session(true));
    let turn = || post(&[("baggage", "user.id=u,session.id=s%20t;p")]);
    assert_eq!(send(&service, turn()).await, said("vendor/m1", false, "claimed"));
    assert_eq!(send(&service, turn()).await, said("vendor/m1", true, "hit"));
    let named = || post(&[("baggage", "session.id=s%20t"), ("x-session-id", "other")]);
    assert_eq!(send(&service, named()).await, said("vendor/m2", false, "claimed"));
    let unnamed = post(&[("baggage", "user.id=u")]);
    assert_eq!(send(&service, unnamed).await, said("vendor/m3", false, "none"));
    let without = stack(layer(Calls::default().router()));
    assert_eq!(send(&without, turn()).await.affinity, "none");
}

#[tokio::test]
async fn without_model_lanes_the_model_that_is_asked_for_makes_no_session() {
    let service = stack(layer(Calls::default().router()).agents(SubAgents::Inherit));
    assert_eq!(send(&service, asking("vendor/small")).await.affinity, "claimed");
    assert_eq!(send(&service, asking("vendor/big")).await, said("vendor/m1", true, "hit"));
}

#[tokio::test]
async fn a_request_for_any_model_goes_on_with_the_sessions_own() {
    let lanes = layer(Calls::default().router()).agents(SubAgents::Inherit).model_lanes(true);
    let service = stack(lanes);
    let any = |wanted: &str| {
        let mut request = asking(wanted);
        request.extensions_mut().insert(AnyModel);
        request
    };
    assert_eq!(send(&service, any("vendor/small")).await.affinity, "claimed");
    assert_eq!(send(&service, any("vendor/big")).await, said("vendor/m1", true, "hit"));
    assert_eq!(send(&service, asking("vendor/big")).await, said("vendor/m2", false, "claimed"));
}
