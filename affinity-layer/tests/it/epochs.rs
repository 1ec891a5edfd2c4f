//! The epoch on the wire: only where it is asked for, and only ours.

use affinity_layer::{AffinityLayer, MemoryStore};
use tower::ServiceExt;

use crate::common::*;

async fn epoch(service: &Stack, headers: &[(&str, &str)]) -> Option<u64> {
    let response = service.clone().oneshot(post(headers)).await.unwrap();
    let value = response.headers().get("x-plano-epoch")?;
    Some(value.to_str().unwrap().parse().unwrap())
}

fn exposed(calls: &Calls) -> Stack {
    stack(AffinityLayer::new(MemoryStore::default(), calls.router()).expose_epoch(true))
}

#[tokio::test]
async fn it_stays_with_the_pin_and_grows_with_every_change() {
    let service = exposed(&Calls::default());
    let session = ("x-model-affinity", "s");
    let claimed = epoch(&service, &[session]).await.unwrap();
    assert_eq!(epoch(&service, &[session]).await, Some(claimed));
    let refreshed = epoch(&service, &[session, ("x-plano-affinity", "refresh")]).await.unwrap();
    assert!(refreshed > claimed);
    assert_eq!(epoch(&service, &[session, ("x-plano-affinity", "final")]).await, Some(refreshed));
    assert!(epoch(&service, &[session]).await.unwrap() > refreshed, "a new claim");
}

#[tokio::test]
async fn without_a_pin_there_is_none() {
    let service = exposed(&Calls::default());
    assert_eq!(epoch(&service, &[]).await, None);
    let bypass = [("x-model-affinity", "s"), ("x-plano-affinity", "bypass")];
    assert_eq!(epoch(&service, &bypass).await, None);
}

#[tokio::test]
async fn it_is_not_told_unless_asked_for() {
    let service = stack(layer(Calls::default().router()));
    assert_eq!(epoch(&service, &[("x-model-affinity", "s")]).await, None);
}
