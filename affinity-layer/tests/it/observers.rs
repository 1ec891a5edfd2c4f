//! What the observer of an answer is told, and when.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use affinity_layer::answer::{AnswerLayer, AnswerObserver, Usage};
use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, BodyId, Claim, Epoch, Expiry, MemoryStore,
    Selection, StoreError,
};
use axum::body::{Body, Bytes};
use http::response::Parts;
use http::{Extensions, Request, Response};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

/// What one observer was told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Head(u16),
    Data(Option<u64>),
    End,
    Dropped,
}
use Told::{Data, Dropped, End, Head};

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Told>>>);

impl Notes {
    fn add(&self, told: Told) {
        self.0.lock().unwrap().push(told);
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn layer(&self) -> AnswerLayer {
        let notes = self.clone();
        AnswerLayer::new().observe(move |_: &Extensions| Some(Box::new(Observer(notes.clone()))))
    }
}

struct Observer(Notes);

impl AnswerObserver for Observer {
    fn on_head(&mut self, head: &Parts) {
        self.0.add(Head(head.status.as_u16()));
    }

    fn on_data(&mut self, usage: Usage) {
        self.0.add(Data(usage.output_tokens));
    }

    fn on_end(self: Box<Self>) {
        self.0.add(End);
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.0.add(Dropped);
    }
}

type Piece = Result<&'static str, std::io::Error>;

/// The answer, which has these pieces, as a client reads it.
async fn answered(notes: &Notes, status: u16, content_type: &str, pieces: Vec<Piece>) -> Body {
    let response = Response::builder().status(status).header("content-type", content_type);
    let body = match pieces.is_empty() {
        true => Body::empty(),
        false => Body::from_stream(tokio_stream::iter(pieces)),
    };
    let response = Arc::new(Mutex::new(Some(response.body(body).unwrap())));
    let inner = service_fn(move |_: Request<Body>| {
        let response = response.lock().unwrap().take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    let response = notes.layer().layer(inner).oneshot(post(&[])).await.unwrap();
    Body::new(response.into_body())
}

fn broken() -> Piece {
    Err(std::io::Error::other("reset"))
}

const COUNTED: &str = "data: {\"usage\":{\"completion_tokens\":7}}\n\n";

#[tokio::test]
async fn an_answer_is_told_from_its_head_to_its_end() {
    let notes = Notes::default();
    let pieces = vec![Ok(": hello\n\n"), Ok(COUNTED), Ok("data: [DONE]\n\n"), Ok(": bye\n\n")];
    let body = answered(&notes, 200, "text/event-stream", pieces).await;
    assert_eq!(notes.take(), [Head(200)]);
    body.collect().await.unwrap();
    let data = [Data(None), Data(Some(7)), Data(Some(7))];
    assert_eq!(notes.take(), [&data[..], &[End, Dropped]].concat(), "nothing after the end");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_ends_with_its_body_and_counts_nothing() {
    for (status, content_type) in [(200, "text/plain"), (500, "text/event-stream")] {
        let notes = Notes::default();
        let body = answered(&notes, status, content_type, vec![Ok(COUNTED), Ok(COUNTED)]).await;
        body.collect().await.unwrap();
        assert_eq!(notes.take(), [Head(status), Data(None), Data(None), End, Dropped]);
    }
}

#[tokio::test]
async fn an_answer_without_a_body_ends_with_its_head() {
    let notes = Notes::default();
    let _body = answered(&notes, 204, "application/json", Vec::new()).await;
    assert_eq!(notes.take(), [Head(204), End, Dropped]);
}

#[tokio::test]
async fn an_answer_that_breaks_or_is_given_up_has_no_end() {
    let notes = Notes::default();
    let body = answered(&notes, 200, "text/event-stream", vec![Ok(COUNTED), broken()]).await;
    assert!(body.collect().await.is_err());
    assert_eq!(notes.take(), [Head(200), Data(Some(7)), Dropped]);

    let mut body = answered(&notes, 200, "text/event-stream", vec![Ok(COUNTED), Ok("")]).await;
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(notes.take(), [Head(200), Data(Some(7)), Dropped]);

    let fails = service_fn(async |_: Request<Body>| {
        Err::<Response<Body>, _>(std::io::Error::other("refused"))
    });
    assert!(notes.layer().layer(fails).oneshot(post(&[])).await.is_err());
    assert_eq!(notes.take(), [Dropped]);
}

/// A store in which links and releases wait for a permit.
#[derive(Clone)]
struct Slow(MemoryStore, Arc<Semaphore>);

impl AffinityStore for Slow {
    as_in!(0: get, repin);

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        if key.kind() == affinity_layer::key::IdKind::Response {
            self.1.acquire().await.unwrap().forget();
        }
        self.0.claim(key, selection, expiry).await
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        self.1.acquire().await.unwrap().forget();
        self.0.release(key, epoch).await
    }
}

const WHOLE: &str = r#"{"id":"resp_1","status":"completed","output":[]}"#;

/// The answer of a conversation that ends with its first response, whose one piece has to wait for
/// its link and for the release.
async fn waiting(store: &Slow, notes: &Notes) -> Body {
    let handler = async |_: Request<Body>| {
        let response = Response::builder().header("content-type", "application/json");
        let pieces = [WHOLE].map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
        let body = Body::from_stream(tokio_stream::iter(pieces));
        Ok::<_, Infallible>(response.body(body).unwrap())
    };
    let layer = AffinityLayer::new(store.clone(), Calls::default().router());
    let service = ServiceBuilder::new()
        .layer(layer.body_ids([BodyId::PreviousResponseId]))
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(notes.layer().final_answer(true))
        .service(service_fn(handler));
    let request = Request::post("/v1/responses").body(Body::from("{}")).unwrap();
    service.oneshot(request).await.unwrap().into_body()
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_waits_for_a_link_and_a_release_waits_for_both_at_once() {
    let (store, notes) =
        (Slow(MemoryStore::default(), Arc::new(Semaphore::new(0))), Notes::default());
    let body = waiting(&store, &notes).await;
    let began = Instant::now();
    assert_eq!(body.collect().await.unwrap().to_bytes(), WHOLE);
    assert_eq!(began.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_piece_is_told_when_it_is_handed_on() {
    let (store, notes) =
        (Slow(MemoryStore::default(), Arc::new(Semaphore::new(0))), Notes::default());
    let mut body = waiting(&store, &notes).await;
    let held = tokio::time::timeout(Duration::from_millis(10), body.frame()).await;
    assert!(held.is_err());
    assert_eq!(notes.take(), [Head(200)]);
    store.1.add_permits(2);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), WHOLE);
    assert_eq!(notes.take(), [Data(None), End, Dropped]);
    assert_eq!(store.0.len(), 1, "the link alone");
}
