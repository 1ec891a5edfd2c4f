//! The requests of a case, polled by hand.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use affinity_benches::{Body, Failure, SESSION, request, session};
use affinity_layer::headers::AFFINITY_HEADER;
use http::{HeaderValue, Request, Response};
use tower_service::Service;

use crate::measured;

/// Requests of one session, by default.
pub(crate) struct Traffic {
    template: Request<Body>,
    /// The ids of distinct sessions.
    ids: Vec<HeaderValue>,
    /// Whether a second request comes while the first one is routed.
    joined: bool,
    times: usize,
}

impl Traffic {
    pub(crate) fn new(times: usize) -> Self {
        let template = request(Some(&session(0)));
        Self { template, ids: Vec::new(), joined: false, times }
    }

    pub(crate) fn without_id(&mut self) -> &mut Self {
        self.template.headers_mut().remove(SESSION);
        self
    }

    pub(crate) fn distinct(&mut self, joined: bool) -> &mut Self {
        let ids = (0..).take(2 * self.times).map(|n| HeaderValue::try_from(session(n)));
        self.ids = ids.filter_map(Result::ok).collect();
        self.joined = joined;
        self
    }

    /// Sends the requests, half of them to warm up. Their making and the end of their responses
    /// count too, so that memory is taken and given back as it is in a server.
    pub(crate) fn run<S>(&mut self, service: &mut S, outcome: Option<&str>) -> Result<(), Failure>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        for n in 0..self.times {
            self.send(service, n);
        }
        let mut last = (None, None);
        measured(&mut || {
            for n in self.times..2 * self.times {
                last = self.send(service, n);
            }
        });
        check(last.0.as_ref(), outcome)?;
        if self.joined { check(last.1.as_ref(), Some("joined")) } else { Ok(()) }
    }

    /// One request, or two that overlap.
    fn send<S>(&self, service: &mut S, n: usize) -> (Option<Response<Body>>, Option<Response<Body>>)
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let mut first = pin!(service.call(self.request(n)));
        if !self.joined {
            return (poll(first.as_mut()).or_else(|| poll(first)), None);
        }
        let mut second = pin!(service.call(self.request(n)));
        let early = (poll(first.as_mut()), poll(second.as_mut()));
        (early.0.or_else(|| poll(first)), early.1.or_else(|| poll(second)))
    }

    fn request(&self, n: usize) -> Request<Body> {
        let mut request = self.template.clone();
        if let Some(id) = self.ids.get(n) {
            request.headers_mut().insert(SESSION, id.clone());
        }
        request
    }
}

fn poll<F: Future<Output = Result<Response<Body>, E>>, E>(
    future: Pin<&mut F>,
) -> Option<Response<Body>> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => Some(response),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}

fn check(response: Option<&Response<Body>>, expected: Option<&str>) -> Result<(), Failure> {
    let Some(response) = response else {
        return Err("a request was not answered at once".into());
    };
    let outcome = response.headers().get(AFFINITY_HEADER);
    let outcome = outcome.and_then(|value| value.to_str().ok());
    if outcome != expected {
        return Err(format!("a response says {outcome:?} and not {expected:?}").into());
    }
    Ok(())
}
