use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use affinity_layer::{
    AffinityLayer, AnswerLayer, BoxError, MemoryStore, ModelName, Outcome, RouteDecision,
    RouteName, RouteRequest, RouterService,
};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use tokio_stream::StreamExt;
use tower::util::{BoxCloneService, MapRequestLayer};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::observer::testing::Notes;
use super::record::TurnRecorder;
use crate::config::Config;
use crate::extensions::{Arrived, RouterClock};
use crate::stack::sessions::Sessions;

type Stack = BoxCloneService<Request<Full<Bytes>>, Response<Body>, Infallible>;

const PIECE: &[u8] = b"data: {\"usage\":{\"input_tokens\":2,\"cache_read_input_tokens\":5}}\n\n";

const ROUTING: Duration = Duration::from_millis(30);

fn router() -> impl RouterService {
    service_fn(|request: RouteRequest| async move {
        let _timed = RouterClock::start(&request.parts.extensions);
        tokio::time::sleep(ROUTING).await;
        let decision = RouteDecision::new([ModelName::new("a/one")?]);
        Ok::<_, BoxError>(decision.with_route(RouteName::new("code")?))
    })
}

/// A stack whose model sends two pieces, ten seconds after each other.
fn stack() -> (Stack, Arc<Notes>) {
    sending(PIECE)
}

fn sending(piece: &'static [u8]) -> (Stack, Arc<Notes>) {
    let config = Config::embedded();
    let notes = Arc::new(Notes::default());
    let model = service_fn(move |_: Request<Full<Bytes>>| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let pieces = tokio_stream::iter([0, 10]).then(move |seconds| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(piece)))
        });
        let body = Body::new(StreamBody::new(Box::pin(pieces)));
        let answer = Response::builder().header("content-type", "text/event-stream").body(body);
        Ok::<_, Infallible>(answer.unwrap())
    });
    let recorder = TurnRecorder::new(Some(notes.clone()), Sessions::new(&config).unwrap());
    let recording = AnswerLayer::new().observe(move |request| recorder.begin(request));
    let stack = ServiceBuilder::new()
        .layer(MapRequestLayer::new(RouterClock::attach))
        .layer(AffinityLayer::new(MemoryStore::default(), router()))
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(recording)
        .service(model);
    (BoxCloneService::new(stack), notes)
}

fn request(session: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::post("/v1/messages");
    if let Some(session) = session {
        request = request.header("x-model-affinity", session);
    }
    let arrived = Arrived(tokio::time::Instant::now());
    request.extension(arrived).body(Full::from(r#"{"model":"x/asked"}"#)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_told_when_its_answer_has_ended() {
    let (stack, turns) = stack();
    let mut body = stack.clone().oneshot(request(Some("s"))).await.unwrap().into_body();
    assert!(turns.next().is_none());
    while let Some(piece) = body.frame().await {
        assert_eq!(piece.unwrap().into_data().unwrap(), PIECE);
    }
    let first = turns.next().unwrap();
    assert_eq!((first.model.as_str(), first.outcome), ("a/one", Outcome::Claimed));
    assert_eq!((first.route.as_ref().unwrap().as_str(), first.pinned), ("code", false));
    assert_eq!((first.router, first.status, first.complete), (Some(ROUTING), Some(200), true));
    assert_eq!(first.first_byte, Some(Duration::from_secs(5) + ROUTING));
    assert_eq!(first.total, Duration::from_secs(15) + ROUTING);
    let tokens = (first.tokens.prompt, first.tokens.cached, first.tokens.output);
    assert_eq!(tokens, (Some(7), Some(5), None));

    stack.clone().oneshot(request(Some("s"))).await.unwrap().into_body().collect().await.unwrap();
    let second = turns.next().unwrap();
    assert_eq!((second.outcome, second.pinned, second.router), (Outcome::Hit, true, None));
    assert_eq!((second.session, second.epoch), (first.session, first.epoch));
    assert!(second.session.is_some() && second.at >= first.at);

    stack.oneshot(request(None)).await.unwrap().into_body().collect().await.unwrap();
    let alone = turns.next().unwrap();
    assert_eq!((alone.session, alone.outcome), (None, Outcome::None));
    assert!(turns.next().is_none(), "each is told once");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_given_up_is_told_as_such() {
    let (stack, turns) = stack();
    let mut body = stack.clone().oneshot(request(None)).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let cut = turns.next().unwrap();
    assert_eq!((cut.status, cut.complete), (Some(200), false));
    assert_eq!((cut.first_byte.is_some(), cut.tokens.prompt), (true, Some(7)));

    let waiting = stack.oneshot(request(None));
    tokio::time::timeout(Duration::from_secs(1), waiting).await.unwrap_err();
    let left = turns.next().unwrap();
    assert_eq!((left.status, left.first_byte, left.complete), (None, None, false));
    assert_eq!(left.total, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn counting_tokens_is_no_turn() {
    let (stack, turns) = stack();
    let mut probe = request(Some("s"));
    probe.extensions_mut().insert(affinity_layer::ext::Probe);
    stack.oneshot(probe).await.unwrap().into_body().collect().await.unwrap();
    assert!(turns.next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_record_shows_no_id_and_times_in_microseconds() {
    let (stack, turns) = stack();
    stack.oneshot(request(Some("hush"))).await.unwrap().into_body().collect().await.unwrap();
    let json = serde_json::to_value(&*turns.next().unwrap()).unwrap();
    assert_eq!((&json["router_us"], &json["outcome"]), (&30_000.into(), &"claimed".into()));
    assert!(json["at"].as_u64().unwrap() > 1_500_000_000_000, "{json}");
    assert!(!json.to_string().contains("hush"), "{json}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_at_the_word_of_the_end_has_read_it_all() {
    let (stack, turns) = sending(b"data: [DONE]\n\n");
    let mut body = stack.oneshot(request(None)).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert!(turns.next().unwrap().complete);
}
