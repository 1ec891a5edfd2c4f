//! The policy over a whole stack: who is asked, who moves, and what is reported.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use affinity_layer::{
    AffinityLayer, AnswerLayer, BoxError, MemoryStore, RouteDecision, RouteRequest,
};
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::config::{Config, Mode};
use crate::stack::turns::observer::testing::Notes;

const MODELS: &str = "
version: v0.4.0
model_providers:
  - model: v/large
    base_url: 'http://127.0.0.1:1'
    price: {input: 2, cached_input: 0.10, cache_write: 2.50, output: 10}
  - model: v/small
    base_url: 'http://127.0.0.1:1'
    price: {input: 0.10, cached_input: 0.01, cache_write: 0.125, output: 0.50}
  - {model: v/unknown, base_url: 'http://127.0.0.1:1'}
";

/// 40,000 tokens, of which 39,000 are new to the cache, and 500 more.
const ANSWER: &str = r#"{"usage":{"input_tokens":1000,"cache_read_input_tokens":0,
    "cache_creation_input_tokens":39000,"output_tokens":500,
    "cache_creation":{"ephemeral_5m_input_tokens":39000,"ephemeral_1h_input_tokens":0}}}"#;

type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

struct Fixture {
    stack: Stack,
    notes: Arc<Notes>,
    asked: Arc<AtomicUsize>,
}

/// The router chooses what the header `choice` names.
fn fixture(share: Share) -> Fixture {
    let config = Config::parse(MODELS, "test", &|_| None, Mode::Full).unwrap();
    let (notes, asked) = (Arc::<Notes>::default(), Arc::<AtomicUsize>::default());
    let upstreams = Arc::new(Upstreams::new(&config));
    let policy = SwitchPolicy::new(upstreams, share, Arc::default(), Some(notes.clone()));
    let counted = asked.clone();
    let router = service_fn(move |request: RouteRequest| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let choice = request.parts.headers["choice"].to_str()?.to_owned();
            Ok::<_, BoxError>(RouteDecision::new([ModelName::new(&choice)?]))
        }
    });
    let (adopting, observing) = (policy.clone(), policy);
    let model = service_fn(|_: Request<Body>| async {
        let answer = Response::builder().header("content-type", "application/json");
        Ok::<_, Infallible>(answer.body(Body::from(ANSWER)).unwrap())
    });
    let affinity = AffinityLayer::new(MemoryStore::default(), router).on_decision(
        move |request, key, pinned, decided| adopting.adopted(request, key, pinned, decided),
    );
    let stack = ServiceBuilder::new()
        .layer(affinity)
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new().observe(move |request| observing.observe(request)))
        .service(model);
    Fixture { stack: BoxCloneSyncService::new(stack), notes, asked }
}

impl Fixture {
    /// What a request says and who serves it; `opens` a turn, or continues one.
    async fn send(&self, choice: &str, opens: bool, control: Option<&str>) -> (String, String) {
        let mut request = Request::post("/v1/messages")
            .header("x-model-affinity", "s")
            .header("choice", choice)
            .body(Body::from("{}"))
            .unwrap();
        if opens {
            request.extensions_mut().insert(NewTurn);
        }
        if let Some(control) = control {
            request.headers_mut().insert("x-plano-affinity", control.parse().unwrap());
        }
        let (head, body) = self.stack.clone().oneshot(request).await.unwrap().into_parts();
        body.collect().await.unwrap();
        let told = |name: &str| head.headers[name].to_str().unwrap().to_owned();
        (told("x-plano-affinity"), told("x-plano-model"))
    }

    async fn expect(&self, choice: &str, opens: bool, outcome: &str, model: &str) {
        let told = self.send(choice, opens, None).await;
        assert_eq!(told, (outcome.to_owned(), model.to_owned()), "{choice}");
    }

    fn verdicts(&self) -> Vec<SwitchVerdict> {
        self.notes.weighed().iter().map(|record| record.decision.verdict).collect()
    }
}

#[tokio::test]
async fn a_session_moves_where_a_turn_begins_and_it_pays_and_stays_else() {
    let fixture = fixture(Share::percent(10));
    fixture.expect("v/large", true, "claimed", "v/large").await;
    // Tool calls: nobody is asked.
    for _ in 0..3 {
        fixture.expect("v/small", false, "hit", "v/large").await;
    }
    assert_eq!(fixture.asked.load(Ordering::SeqCst), 1);
    fixture.expect("v/large", true, "hit", "v/large").await;
    assert_eq!(fixture.verdicts(), [], "the same choice is no question of money");
    fixture.expect("v/small", true, "refreshed", "v/small").await;
    fixture.expect("v/large", false, "hit", "v/small").await;
    fixture.expect("v/large", true, "hit", "v/small").await;
    use SwitchVerdict::{Move, NotCheaper};
    assert_eq!(fixture.verdicts(), [Move, NotCheaper]);
    let first = &fixture.notes.weighed()[0];
    assert_eq!((first.pinned.as_str(), first.other.as_str()), ("v/large", "v/small"));
    // C = 40,500, W = 39,000, n = 1 (the shortest turn), O = 500, by hand in millionths:
    // stay 39,000×0.10 + 1,500×2.50 + 500×10 = 12,650; go 40,500×0.125 + 500×0.50 = 5,312.5;
    // the move 40,500×0.115 − 1,500×2.40 = 1,057.5
    let amounts = [first.decision.stay, first.decision.go, first.decision.move_cost];
    let amounts = amounts.map(|amount| amount.unwrap().to_string());
    assert_eq!(amounts, ["0.01265", "0.0053125", "0.0010575"]);
}

#[tokio::test]
async fn an_unknown_price_and_a_cap_keep_the_pin_and_a_client_may_still_move_it() {
    let capped = fixture(Share::NONE);
    capped.expect("v/large", true, "claimed", "v/large").await;
    capped.expect("v/small", true, "hit", "v/large").await;
    capped.expect("v/unknown", true, "hit", "v/large").await;
    assert_eq!(capped.verdicts(), [SwitchVerdict::OverCap, SwitchVerdict::UnknownPrice]);
    let told = capped.send("v/unknown", true, Some("refresh")).await;
    assert_eq!(told, ("refreshed".to_owned(), "v/unknown".to_owned()));
    assert_eq!(capped.verdicts().len(), 2, "nothing was weighed");
}
