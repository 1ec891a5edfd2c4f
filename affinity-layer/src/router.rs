//! Any router behind one type.
//!
//! The layer asks its router on a miss only, where a box costs nothing that can be measured. So the router's type ends
//! at [`AffinityLayer::new`](crate::AffinityLayer::new): layers and services have one type parameter less,
//! what is wrong with a router is told where it is handed over, and its error type appears in no future
//! of the layer. That last point is why a router with a `BoxError` may be used inside `tokio::spawn`: the
//! compiler cannot prove `Box<dyn Error>: Into<Box<dyn Error>>` of a future that it checks for `Send`.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tower_service::Service;

use crate::{BoxError, RouteDecision, RouteRequest, RouterService};

type Answer = Pin<Box<dyn Future<Output = Result<RouteDecision, BoxError>> + Send>>;

/// A router of any type. Cloning shares it.
#[derive(Clone)]
pub(crate) struct AnyRouter(Arc<dyn DynRouter>);

impl AnyRouter {
    pub(crate) fn new(router: impl RouterService) -> Self {
        Self(Arc::new(Template(Mutex::new(router))))
    }
}

/// Always ready, because it is a clone of the router that is made ready for each question. A permit that it
/// waits for is thus never held by a request that is pinned.
impl Service<RouteRequest> for AnyRouter {
    type Response = RouteDecision;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, question: RouteRequest) -> Answer {
        self.0.ask(question)
    }
}

/// Calls a service once it is ready. It is tower's `oneshot`, without the five crates that come with that.
pub(crate) async fn oneshot<S, Q>(mut service: S, question: Q) -> Result<S::Response, S::Error>
where
    S: Service<Q>,
{
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(question).await
}

/// A router as an object. A [`Service`] is none: `ask` needs no router of one's own.
trait DynRouter: Send + Sync {
    fn ask(&self, question: RouteRequest) -> Answer;
}

/// The router that is cloned for each question. The lock lets it be one that threads cannot share, such as
/// tower's `BoxCloneService`.
struct Template<R>(Mutex<R>);

impl<R: RouterService> DynRouter for Template<R> {
    fn ask(&self, question: RouteRequest) -> Answer {
        let router = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move { oneshot(router, question).await.map_err(Into::into) })
    }
}
