//! The spans that a subscriber sees.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use affinity_layer::BoxError;
use axum::body::Body;
use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Subscriber, instrument::WithSubscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::common::{Calls, layer, post};

/// A span's name, the name of the one around it, and its fields.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: String,
    parent: String,
    fields: BTreeMap<String, String>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name().to_owned(), format!("{value:?}").replace('"', ""));
    }
}

/// Keeps every span.
#[derive(Clone, Default)]
struct Keep(Arc<Mutex<Vec<(Id, Seen)>>>);

impl Keep {
    fn named(&self, name: &str) -> Vec<Seen> {
        let kept = self.0.lock().unwrap();
        kept.iter().map(|(_, seen)| seen.clone()).filter(|seen| seen.name == name).collect()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keep {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let parent = span.parent().map_or("", |parent| parent.name()).to_owned();
        let mut seen = Seen { name: span.name().to_owned(), parent, ..Seen::default() };
        attributes.record(&mut seen);
        self.0.lock().unwrap().push((id.clone(), seen));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut kept = self.0.lock().unwrap();
        // Ids are used again, so the last one is meant.
        let (_, seen) = kept.iter_mut().rev().find(|(kept, _)| kept == id).unwrap();
        record.record(seen);
    }
}

/// A handler that takes its time, with a span of its own at the end.
async fn handler(_: Request<Body>) -> Result<Response<Body>, BoxError> {
    drop(tracing::info_span!("handling"));
    tokio::task::yield_now().await;
    drop(tracing::info_span!("waited"));
    Ok(Response::new(Body::empty()))
}

#[tokio::test]
async fn each_request_to_a_model_has_one_span() {
    let (calls, keep) = (Calls::default(), Keep::default());
    let app = ServiceBuilder::new().layer(layer(calls.router())).service(service_fn(handler));
    let session = || post(&[("x-model-affinity", "hush")]);
    let asked = async {
        for request in [session(), session(), post(&[])] {
            app.clone().oneshot(request).await.unwrap();
        }
        app.clone().oneshot(Request::get("/v1/models").body(Body::empty()).unwrap()).await.unwrap();
    };
    asked.with_subscriber(Registry::default().with(keep.clone())).await;

    let told = |field: &str| {
        let spans = keep.named("affinity").into_iter();
        spans.map(|span| span.fields.get(field).cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(told("affinity.outcome"), ["claimed", "hit", "none"]);
    assert_eq!(told("affinity.model"), ["vendor/m1", "vendor/m1", "vendor/m2"]);
    assert_eq!(told("affinity.pinned"), ["false", "true", "false"]);
    assert_eq!(told("affinity.route"), ["code generation"; 3]);
    let epochs = told("affinity.epoch");
    assert!(!epochs[0].is_empty() && epochs[0] == epochs[1] && epochs[2].is_empty(), "{epochs:?}");
    assert!(!format!("{:?}", keep.named("affinity")).contains("hush"));

    for inner in ["handling", "waited"] {
        let parents: Vec<_> = keep.named(inner).into_iter().map(|span| span.parent).collect();
        assert_eq!(parents, ["affinity", "affinity", "affinity", ""], "{inner}");
    }
}
