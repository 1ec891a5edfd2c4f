//! A pinned request through the layer.

use std::fmt::Write;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use affinity_benches::turns::{Subject, Work, medians};
use affinity_benches::{Body, Failure, Inner, Random, SESSION, claim, key, request, session};
use affinity_layer::{AffinityLayer, BoxError, Expiry, MemoryStore, RouteDecision, RouteRequest};
use http::{HeaderValue, Request};
use tower::service_fn;
use tower_layer::Layer;
use tower_service::Service;

use crate::ROUNDS;

/// Requests of random sessions; as many for each size, so that they cost the same to read.
const SAMPLE: u64 = 100_000;

pub(crate) fn table(sizes: &[u64], times: usize) -> Result<String, Failure> {
    let mut subjects = Vec::new();
    for sessions in sizes {
        let work: Work = Arc::new(hits(*sessions)?);
        for threads in [1, 2] {
            subjects.push(Subject { name: sessions.to_string(), threads, work: work.clone() });
        }
    }
    let medians = medians(&subjects, ROUNDS, times);
    let mut table = String::from(
        "| sessions | one thread, ns per hit | two threads, ns per hit | throughput of two over one | \
         against the fewest |\n|---:|---:|---:|---:|---:|\n",
    );
    let fewest = medians.first().copied().unwrap_or_default().as_secs_f64();
    for (pair, sessions) in medians.chunks_exact(2).zip(sizes) {
        let [one, two] = pair else { continue };
        let (one, two) = (one.as_secs_f64(), two.as_secs_f64());
        writeln!(
            table,
            "| {sessions} | {:.0} | {:.0} | {:.2} | {:.2} |",
            one * 1e9,
            two * 1e9,
            one / two,
            one / fewest
        )?;
    }
    Ok(table)
}

/// Hits in a store of so many sessions, the making of the request included.
fn hits(sessions: u64) -> Result<impl Fn(usize, usize) + Send + Sync, Failure> {
    let store = MemoryStore::new(usize::try_from(sessions)?);
    let expiry = Expiry::fixed(std::time::Duration::from_secs(86_400));
    for n in 0..sessions {
        claim(&store, &key(n), &expiry);
    }
    // A second request of a session that is pinned is never routed.
    let router = service_fn(|_: RouteRequest| async { Err::<RouteDecision, BoxError>("".into()) });
    let layer = AffinityLayer::new(store, router).expiry(expiry);
    let mut random = Random::default();
    let mut ids = Vec::new();
    for _ in 0..SAMPLE {
        ids.push(HeaderValue::try_from(session(random.below(sessions)))?);
    }
    Ok(move |thread: usize, times: usize| {
        let mut service = layer.layer(Inner);
        // Of its own: a server's threads do not count references to each other's requests.
        let template = request(None);
        // The two threads walk over different requests.
        let ids = ids.iter().cycle().skip(thread * ids.len() / 2).take(times);
        for id in ids {
            let mut request: Request<Body> = template.clone();
            request.headers_mut().insert(SESSION, id.clone());
            let response = pin!(service.call(request));
            drop(response.poll(&mut Context::from_waker(Waker::noop())));
        }
    })
}
