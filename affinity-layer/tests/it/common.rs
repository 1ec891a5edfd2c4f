//! A router that can be scripted, and a shorthand for requests.
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use affinity_layer::{
    AffinityLayer, BoxError, MemoryStore, ModelName, PinnedModel, RouteDecision, RouteName,
    RouteRequest, RouterService,
};
use axum::body::Body;
use http::{HeaderMap, Request, Response};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

pub(crate) fn model(name: &str) -> ModelName {
    ModelName::new(name).unwrap()
}

/// Counts its calls and decides for `vendor/m1`, `vendor/m2`, … in turn, as a router does that
/// judges each prompt alone.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<AtomicUsize>);

impl Calls {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn decide(&self) -> RouteDecision {
        let models = [format!("vendor/m{}", self.next()), "vendor/spare".to_owned()];
        let route = RouteName::new("code generation").unwrap();
        RouteDecision::new(models.map(|name| model(&name))).with_route(route)
    }

    pub(crate) fn router(&self) -> impl RouterService + use<> {
        let calls = self.clone();
        self.router_after(move || {
            let calls = calls.clone();
            async move { Ok(calls.decide()) }
        })
    }

    /// The same, each decision after a pause.
    pub(crate) fn slow_router(&self, pause: Duration) -> impl RouterService + use<> {
        let calls = self.clone();
        self.router_after(move || {
            let calls = calls.clone();
            async move {
                tokio::time::sleep(pause).await;
                Ok(calls.decide())
            }
        })
    }

    pub(crate) fn router_after<F, Fut>(&self, decide: F) -> impl RouterService + use<F, Fut>
    where
        F: Fn() -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<RouteDecision, BoxError>> + Send + 'static,
    {
        service_fn(move |_: RouteRequest| decide())
    }
}

/// Answers with the model it was given and the body it was sent.
pub(crate) async fn echo(
    request: Request<Body>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let given = request.extensions().get::<PinnedModel>().map(|given| given.model().to_string());
    let mut response = Response::new(request.into_body());
    let given = given.unwrap_or_else(|| "nothing".to_owned());
    response.headers_mut().insert("given", given.parse().unwrap());
    Ok(response)
}

pub(crate) type Stack = tower::util::BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

pub(crate) fn stack(layer: AffinityLayer<MemoryStore>) -> Stack {
    let service = ServiceBuilder::new().layer(layer).service(service_fn(echo));
    tower::util::BoxCloneSyncService::new(service.map_err(BoxError::from))
}

pub(crate) fn layer(router: impl RouterService) -> AffinityLayer<MemoryStore> {
    AffinityLayer::new(MemoryStore::default(), router)
}

pub(crate) fn post(headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::post("/v1/chat/completions");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(r#"{"model":"vendor/asked","messages":[]}"#)).unwrap()
}

/// What a response said: model, pinned, affinity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) model: String,
    pub(crate) pinned: String,
    pub(crate) affinity: String,
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

pub(crate) async fn send<S>(service: &S, request: Request<Body>) -> Said
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone,
{
    let response = service.clone().oneshot(request).await.unwrap();
    let headers = response.headers();
    let said = Said {
        status: response.status().as_u16(),
        model: header(headers, "x-plano-model").to_owned(),
        pinned: header(headers, "x-plano-pinned").to_owned(),
        affinity: header(headers, "x-plano-affinity").to_owned(),
    };
    if response.status().is_success() && !said.model.is_empty() {
        assert_eq!(said.model, header(headers, "given"), "the handler and the client must agree");
    }
    said
}

pub(crate) async fn turn(service: &Stack, session: &str) -> Said {
    send(service, post(&[("x-model-affinity", session)])).await
}

pub(crate) fn said(model: &str, pinned: bool, affinity: &str) -> Said {
    let (model, affinity) = (model.to_owned(), affinity.to_owned());
    Said { status: 200, model, pinned: pinned.to_string(), affinity }
}

/// The verbs of a store that does as the store in its field does.
macro_rules! as_in {
    ($field:tt: $($verb:ident),+) => { $($crate::common::as_in!(@$verb $field);)+ };
    (@get $field:tt) => {
        async fn get(
            &self,
            key: &affinity_layer::AffinityKey,
            expiry: &affinity_layer::Expiry,
        ) -> Result<affinity_layer::PinRead, affinity_layer::StoreError> {
            self.$field.get(key, expiry).await
        }
    };
    (@claim $field:tt) => {
        async fn claim(
            &self,
            key: &affinity_layer::AffinityKey,
            selection: std::sync::Arc<affinity_layer::Selection>,
            expiry: &affinity_layer::Expiry,
        ) -> Result<affinity_layer::Claim, affinity_layer::StoreError> {
            self.$field.claim(key, selection, expiry).await
        }
    };
    (@repin $field:tt) => {
        async fn repin(
            &self,
            key: &affinity_layer::AffinityKey,
            from: affinity_layer::Epoch,
            selection: std::sync::Arc<affinity_layer::Selection>,
            expiry: &affinity_layer::Expiry,
        ) -> Result<Option<affinity_layer::Claim>, affinity_layer::StoreError> {
            self.$field.repin(key, from, selection, expiry).await
        }
    };
    (@release $field:tt) => {
        async fn release(
            &self,
            key: &affinity_layer::AffinityKey,
            epoch: Option<affinity_layer::Epoch>,
        ) -> Result<bool, affinity_layer::StoreError> {
            self.$field.release(key, epoch).await
        }
    };
}
pub(crate) use as_in;
