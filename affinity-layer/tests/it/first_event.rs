//! A 200 whose answer never begins is a failure of its model: the next candidate is asked, and the
//! client sees nothing of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use affinity_layer::first_event::{FirstEventLayer, Held, hold};
use affinity_layer::{AffinityLayer, FailoverLayer, MemoryStore, PinnedModel};
use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";

/// What a provider sends after its head, and whether it breaks off then.
#[derive(Clone, Copy, Debug)]
struct Sent {
    content_type: &'static str,
    pieces: &'static [&'static str],
    breaks: bool,
}

impl Sent {
    fn response(self) -> Response<Body> {
        let pieces = self.pieces.iter().map(|piece| Ok(Bytes::from(*piece)));
        let broken = self.breaks.then(|| Err(std::io::Error::other("reset")));
        let body = Body::from_stream(tokio_stream::iter(pieces.chain(broken).collect::<Vec<_>>()));
        Response::builder().header("content-type", self.content_type).body(body).unwrap()
    }
}

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, BoxError>;

/// A stack in which `vendor/m1` sends this, and every other model a good answer. Counts the calls.
fn stacked(store: &MemoryStore, sent: Sent) -> (Service, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let provider = service_fn(move |request: Request<Full<Bytes>>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let model = request.extensions().get::<PinnedModel>().unwrap().model();
        let response = match model.as_str() {
            "vendor/m1" => sent.response(),
            _ => Response::new(Body::from("good")),
        };
        async move { Ok::<_, Infallible>(response) }
    });
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(store.clone(), Calls::default().router()))
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(FailoverLayer::new())
        .layer(FirstEventLayer::new())
        .service(provider);
    (BoxCloneSyncService::new(service.map_err(BoxError::from)), calls)
}

fn turn() -> Request<Full<Bytes>> {
    let request = Request::post("/v1/chat/completions").header("x-model-affinity", "s");
    request.body(Full::from("{}")).unwrap()
}

async fn ask(service: &Service) -> (String, String, Result<Bytes, axum::Error>) {
    let (head, body) = service.clone().oneshot(turn()).await.unwrap().into_parts();
    let told = |name| header(&head.headers, name).to_owned();
    let body = body.collect().await.map(|body| body.to_bytes());
    (told("x-plano-model"), told("x-plano-affinity"), body)
}

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n";
const CREATED: &str = "data: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n\n";

const FAILURES: [Sent; 12] = [
    Sent { content_type: SSE, pieces: &[], breaks: false },
    Sent { content_type: SSE, pieces: &[], breaks: true },
    Sent { content_type: SSE, pieces: &[": ping\n\n", "\n"], breaks: true },
    Sent { content_type: SSE, pieces: &["data: [DONE]\n\n"], breaks: false },
    Sent { content_type: SSE, pieces: &["data: {\"error\":{\"code\":503}}\n\n"], breaks: false },
    Sent {
        content_type: SSE,
        pieces: &[START, "event: ping\ndata: {\"type\":\"ping\"}\n\n"],
        breaks: true,
    },
    Sent {
        content_type: SSE,
        pieces: &[START, "event: error\ndata: {\"type\":\"error\",", "\"error\":{}}\n\n"],
        breaks: false,
    },
    Sent { content_type: SSE, pieces: &[CREATED], breaks: false },
    Sent {
        content_type: SSE,
        pieces: &[CREATED, "data: {\"type\":\"response.failed\",\"response\":{}}\n\n"],
        breaks: false,
    },
    Sent { content_type: JSON, pieces: &["  "], breaks: false },
    Sent { content_type: JSON, pieces: &["{\"error\":", "{\"message\":\"x\"}}"], breaks: false },
    Sent { content_type: JSON, pieces: &["{\"id\":\"x\",\"choices\":["], breaks: true },
];

#[tokio::test]
async fn an_answer_that_never_begins_moves_the_session_once() {
    for sent in FAILURES {
        let store = MemoryStore::default();
        let (service, calls) = stacked(&store, sent);
        let (model, outcome, body) = ask(&service).await;
        assert_eq!((&*model, &*outcome), ("vendor/spare", "repinned"), "{sent:?}");
        assert_eq!(body.unwrap(), "good", "{sent:?}");
        let (model, outcome, _) = ask(&service).await;
        assert_eq!((&*model, &*outcome), ("vendor/spare", "hit"), "{sent:?}");
        assert_eq!(calls.load(Ordering::SeqCst), 3, "{sent:?}");
    }
}

#[tokio::test]
async fn without_another_candidate_it_is_told_as_it_came_and_its_claim_is_released() {
    for sent in FAILURES {
        let store = MemoryStore::default();
        let provider =
            service_fn(
                move |_: Request<Full<Bytes>>| async move { Ok::<_, BoxError>(sent.response()) },
            );
        let service = ServiceBuilder::new()
            .layer(AffinityLayer::new(store.clone(), Calls::default().router()))
            .map_response(|response: Response<_>| response.map(Body::new))
            .layer(FailoverLayer::new())
            .layer(FirstEventLayer::new())
            .service(provider);
        let (_, outcome, body) = ask(&BoxCloneSyncService::new(service)).await;
        assert_eq!((&*outcome, store.len()), ("failed", 0), "{sent:?}");
        match sent.breaks {
            true => assert!(body.is_err(), "{sent:?}"),
            false => assert_eq!(body.unwrap(), sent.pieces.concat(), "{sent:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_that_begins_stays_where_it_is() {
    for (content_type, pieces) in [
        (SSE, &["data: {\"error\":null,\"choices\":[{}]}\n\n", "data: {\"error\":{}}\n\n"][..]),
        (SSE, &[START, "data: {\"type\":\"content_block_start\"}\n\n"]),
        (SSE, &[CREATED, "data: {\"type\":\"response.output_item.added\"}\n\n", CREATED]),
        (JSON, &["{\"choices\":[{}],", "\"error\":null}"]),
        (JSON, &["{\"input_tokens\":7}"]),
        ("text/plain", &["{\"error\":{}}"]),
    ] {
        for breaks in [false, true] {
            let (service, _) =
                stacked(&MemoryStore::default(), Sent { content_type, pieces, breaks });
            let (model, outcome, body) = ask(&service).await;
            assert_eq!((&*model, &*outcome), ("vendor/m1", "claimed"), "{pieces:?}");
            assert_eq!(body.is_err(), breaks);
            assert!(body.is_err() || body.unwrap() == pieces.concat(), "{pieces:?}");
        }
    }
}

type Pieces = mpsc::UnboundedSender<Result<&'static str, std::io::Error>>;

fn stream() -> (Pieces, Response<Body>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let body = Body::from_stream(UnboundedReceiverStream::new(receiver));
    (sender, Response::builder().header("content-type", SSE).body(body).unwrap())
}

const LIMIT: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn a_silent_head_goes_out_after_the_limit() {
    let (pieces, response) = stream();
    pieces.send(Ok(START)).unwrap();
    let began = Instant::now();
    let (response, held) = hold(response, LIMIT).await;
    assert_eq!((held, began.elapsed()), (Held::Served, LIMIT));
    pieces.send(Ok("data: {\"error\":{}}\n\n")).unwrap();
    drop(pieces);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, [START, "data: {\"error\":{}}\n\n"].concat());
}

#[tokio::test(start_paused = true)]
async fn a_head_waits_for_nothing_once_its_answer_has_begun() {
    let (pieces, response) = stream();
    pieces.send(Ok(START)).unwrap();
    let begins = "data: {\"type\":\"content_block_start\"}";
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        pieces.send(Ok(begins)).unwrap();
        pieces.closed().await;
    });
    let began = Instant::now();
    let (response, held) = hold(response, LIMIT).await;
    assert_eq!((held, began.elapsed()), (Held::Served, Duration::from_millis(300)));
    let mut body = response.into_body();
    assert!(!body.is_end_stream());
    for piece in [START, begins] {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
    }
    assert_eq!(began.elapsed(), Duration::from_millis(300));
}

#[tokio::test]
async fn a_head_that_goes_on_for_ever_fills_no_memory() {
    let (pieces, response) = stream();
    let comment = Box::leak(format!(": {}\n\n", "x".repeat(1 << 16)).into_boxed_str());
    for _ in 0..8 {
        pieces.send(Ok(comment)).unwrap();
    }
    let (response, held) = hold(response, LIMIT).await;
    assert_eq!(held, Held::Served);
    drop(pieces);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 8 * comment.len());
}

#[tokio::test]
async fn a_head_in_tiny_pieces_fills_no_memory_either() {
    let (pieces, response) = stream();
    for _ in 0..100_000 {
        pieces.send(Ok("\n")).unwrap();
    }
    let (response, held) = hold(response, Duration::from_secs(60)).await;
    assert_eq!(held, Held::Served);
    drop(pieces);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 100_000);
}

#[tokio::test]
async fn what_is_held_counts_for_the_length_of_the_body() {
    let whole = "{\"choices\":[{}]}";
    let response = Response::builder().header("content-type", JSON);
    let (response, _) = hold(response.body(Full::<Bytes>::from(whole)).unwrap(), LIMIT).await;
    let mut body = response.into_body();
    assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
    assert!(!body.is_end_stream());
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn other_statuses_and_a_limit_of_zero_are_not_held() {
    for (status, limit) in [(201, LIMIT), (204, LIMIT), (503, LIMIT), (200, Duration::ZERO)] {
        let (_pieces, mut response) = stream();
        *response.status_mut() = status.try_into().unwrap();
        assert_eq!(hold(response, limit).await.1, Held::Served);
    }
    let empty = Response::new(Full::<Bytes>::default());
    assert_eq!(hold(empty, LIMIT).await.1, Held::Ended);
}
