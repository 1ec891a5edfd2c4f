//! Requests that hold what one vendor alone can read, or refer to what it keeps.

use affinity_layer::ext::{Bound, LeftOut};
use affinity_layer::state::StateMark;
use affinity_layer::{AffinityKey, AffinityStore, Expiry, Selection};
use http::HeaderValue;

use super::*;

fn bound(by: Bound) -> http::request::Builder {
    Request::post("/v1/responses").extension(by)
}

#[tokio::test]
async fn a_request_that_refers_to_its_provider_stays_there_and_says_so() {
    let models = Models::default();
    let service = stack(&models);
    ask(&service, Some("s")).await;
    models.always("v/one", 503);
    let (answer, body) = tell(&service, Some("s"), bound(Bound::ByReference)).await;
    assert_eq!(answer, Said { status: 503, ..said("v/one", true, "bound") });
    assert_eq!(body, "503 by v/one");
    // Its session has not moved, and any other request of it may.
    assert_eq!(ask(&service, Some("s")).await.0, said("v/two", false, "repinned"));

    let (answer, _) = tell(&service, Some("new"), bound(Bound::ByReference)).await;
    assert_eq!(answer.affinity, "failed", "no pin was there before");
    let (answer, _) = tell(&service, None, bound(Bound::ByReference)).await;
    assert_eq!((answer.status, answer.affinity.as_str()), (503, "none"));
}

#[tokio::test]
async fn a_request_that_must_not_move_fails_where_it_is() {
    let models = Models::default();
    let service = stack(&models);
    ask(&service, Some("s")).await;
    models.fail("v/one", &[(503, None)]);
    let (answer, _) = tell(&service, Some("s"), bound(Bound::ByChoice)).await;
    assert_eq!(answer, Said { status: 503, ..said("v/one", false, "failed") });
    assert_eq!(ask(&service, Some("s")).await.0, said("v/one", true, "hit"));
}

#[tokio::test]
async fn another_model_of_the_same_vendor_may_take_a_bound_request() {
    let models = Models::default();
    let failover = FailoverLayer::new()
        .same_vendor(|own, other| own.as_str() == "v/one" && other.as_str() == "v/three");
    let service = service(&MemoryStore::default(), &models, failover);
    ask(&service, Some("s")).await;
    models.always("v/one", 503);
    let (answer, _) = tell(&service, Some("s"), bound(Bound::ByReference)).await;
    assert_eq!(answer, said("v/three", false, "repinned"));
}

#[tokio::test]
async fn the_mark_of_what_was_left_out_is_stored_with_the_move() {
    let key = AffinityKey::new("s").unwrap();
    let last = StateMark::of(&key, b"signature");
    let (store, expiry) = (MemoryStore::default(), Expiry::default());
    let router = service_fn(|_: RouteRequest| async {
        Ok::<_, BoxError>(RouteDecision::new(["v/one", "v/two"].map(model)))
    });
    let providers = service_fn(move |request: Request<Full<Bytes>>| async move {
        let given = request.extensions().get::<PinnedModel>().unwrap().clone();
        let mut response = Response::builder();
        if given.model().as_str() == "v/one" {
            response = response.status(503);
        } else if given.session_model() != given.model() {
            let kinds = HeaderValue::from_static("thinking");
            response = response.extension(LeftOut::new(kinds, Some(last)));
        } else {
            assert_eq!(given.foreign(), Some(last), "every later request is told");
            // An upstream cannot say so in our place.
            response = response.header("x-plano-healed", "forged");
        }
        Ok::<_, BoxError>(response.body(Body::empty())?)
    });
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(store.clone(), router))
        .layer(FailoverLayer::new())
        .service(providers);
    let ask = || {
        let request = Request::post("/v1/messages").header("x-model-affinity", "s");
        service.clone().oneshot(request.body(Full::<Bytes>::default()).unwrap())
    };
    let moved = ask().await.unwrap();
    assert_eq!(header(moved.headers(), "x-plano-affinity"), "repinned");
    assert_eq!(header(moved.headers(), "x-plano-healed"), "thinking");
    let pin = store.get(&key, &expiry).await.unwrap().pin().unwrap();
    assert_eq!(pin.selection.foreign(), Some(last));
    assert!(!ask().await.unwrap().headers().contains_key("x-plano-healed"));
}

#[tokio::test]
async fn a_mark_that_is_noted_later_changes_nothing_else() {
    let (store, expiry) = (MemoryStore::default(), Expiry::default());
    let key = AffinityKey::new("s").unwrap();
    let last = StateMark::of(&key, b"signature");
    let router = service_fn(|_: RouteRequest| async {
        Ok::<_, BoxError>(RouteDecision::new([model("v/one")]))
    });
    let providers = service_fn(move |request: Request<Full<Bytes>>| async move {
        let given = request.extensions().get::<PinnedModel>().unwrap();
        let noted = given.note_foreign(last).await?.ok_or("no pin")?;
        assert_eq!((noted.model(), noted.outcome()), (given.model(), given.outcome()));
        Ok::<_, BoxError>(Response::builder().extension(noted).body(Body::empty())?)
    });
    let service =
        ServiceBuilder::new().layer(AffinityLayer::new(store.clone(), router)).service(providers);
    for affinity in ["claimed", "hit"] {
        let request = Request::post("/v1/messages").header("x-model-affinity", "s");
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(header(response.headers(), "x-plano-affinity"), affinity);
        let pin = store.get(&key, &expiry).await.unwrap().pin().unwrap();
        let expected = Selection::of(model("v/one")).with_foreign(Some(last));
        assert_eq!(*pin.selection, expected);
    }
}

#[tokio::test]
async fn a_decision_is_kept_as_the_application_adopts_it() {
    let store = MemoryStore::default();
    let key = AffinityKey::new("s").unwrap();
    let last = StateMark::of(&key, b"signature");
    let calls = crate::common::Calls::default();
    let affinity = AffinityLayer::new(store.clone(), calls.router()).on_decision(
        move |head, key, pinned, decided| {
            assert_eq!(key.session(), "s");
            match pinned {
                Some(pinned) if head.extensions.get::<Bound>().is_some() => pinned.clone().into(),
                Some(_) => Arc::new((*decided).clone().with_foreign(Some(last))),
                None => decided,
            }
        },
    );
    let service = affinity.layer(service_fn(move |request: Request<Full<Bytes>>| async move {
        let given = request.extensions().get::<PinnedModel>().unwrap();
        let foreign = given.foreign().is_some().to_string();
        Ok::<_, BoxError>(Response::builder().header("foreign", foreign).body(Body::empty())?)
    }));
    let ask = |refresh: bool, by: Option<Bound>| {
        let mut request = Request::post("/v1/messages").header("x-model-affinity", "s");
        if refresh {
            request = request.header("x-plano-affinity", "refresh");
        }
        if let Some(by) = by {
            request = request.extension(by);
        }
        service.clone().oneshot(request.body(Full::<Bytes>::default()).unwrap())
    };
    for (refresh, by, model, affinity, foreign) in [
        (false, None, "vendor/m1", "claimed", "false"),
        (true, Some(Bound::ByChoice), "vendor/m1", "hit", "false"),
        (false, None, "vendor/m1", "hit", "false"),
        (true, None, "vendor/m3", "refreshed", "true"),
        (false, None, "vendor/m3", "hit", "true"),
    ] {
        let response = ask(refresh, by).await.unwrap();
        let told = |name| header(response.headers(), name);
        let told = (told("x-plano-model"), told("x-plano-affinity"), told("foreign"));
        assert_eq!(told, (model, affinity, foreign));
    }
}
