//! The stream as a reader gets it.

use std::sync::Arc;
use std::time::Duration;

use affinity_layer::{AffinityKey, ModelName, Outcome};
use axum::body::Body;
use axum::extract::State;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::feed::{BEHIND, Live, READERS, TOGETHER};
use super::stream::events;
use super::{history, lane};
use crate::config::Config;
use crate::ops::hub::TurnHub;
use crate::stack::turns::observer::TurnObserver;
use crate::stack::turns::tag::SessionTag;
use crate::stack::turns::turn::Turn;
use crate::stack::unnamed::Unnamed;
use crate::upstream::providers::Upstreams;

const ONE: &str = "openai/one";
const TWO: &str = "openai/two";

fn turn(session: Option<&str>, model: &str) -> Turn {
    Turn {
        session: session.map(|id| SessionTag::of(&AffinityKey::new(id).unwrap())),
        outcome: Outcome::Hit,
        pinned: true,
        total: Duration::from_millis(1),
        ..Turn::of_model(ModelName::new(model).unwrap())
    }
}

/// A reader of the stream, event by event.
struct Reader(Body);

impl Reader {
    async fn new(live: &Live) -> Self {
        let response = events(State(live.clone())).await;
        assert_eq!(response.status(), 200);
        Self(response.into_body())
    }

    /// The next event's name and data; nothing at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        let frame = self.0.frame().await?.unwrap().into_data().unwrap();
        let text = std::str::from_utf8(&frame).unwrap();
        let rest = text.strip_prefix("event: ").unwrap_or_else(|| panic!("{text}"));
        let (name, data) = rest.strip_suffix("\n\n").unwrap().split_once("\ndata: ").unwrap();
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    }

    async fn expect(&mut self, name: &str) -> Value {
        let (got, data) = self.next().await.unwrap();
        assert_eq!(got, name, "{data}");
        data
    }
}

struct Setup {
    live: Live,
    hub: TurnHub,
    stop: CancellationToken,
}

impl Setup {
    async fn new() -> Self {
        let config = Config::embedded();
        let hub = TurnHub::new(Arc::new(Upstreams::new(&config)));
        let stop = CancellationToken::new();
        let live = Live::new(hub.clone(), vec![ModelName::new(ONE).unwrap()], Unnamed::default());
        tokio::spawn(live.clone().follow(stop.clone()));
        // It listens from here on.
        tokio::task::yield_now().await;
        Self { live, hub, stop }
    }

    fn told(&self, session: Option<&str>, model: &str) {
        self.hub.ended(Arc::new(turn(session, model)));
    }

    /// Until what was told is in the history.
    async fn settled(&self) {
        tokio::time::sleep(2 * TOGETHER).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_gets_what_was_and_then_what_happens_together() {
    let setup = Setup::new().await;
    setup.told(Some("a"), ONE);
    setup.told(Some("b"), ONE);
    setup.told(Some("a"), TWO);
    setup.settled().await;
    let mut reader = Reader::new(&setup.live).await;
    let snapshot = reader.expect("snapshot").await;
    assert_eq!(snapshot["models"], serde_json::json!([ONE]));
    assert_eq!(snapshot["totals"]["turns"], 3);
    assert_eq!(snapshot["lanes"].as_array().unwrap().len(), 2);
    // The newest activity is first.
    let a = &snapshot["lanes"][0];
    assert_eq!((&a["turns"][1]["model"], &a["turns"][1]["number"]), (&TWO.into(), &2.into()));

    setup.told(Some("b"), ONE);
    setup.told(Some("c"), ONE);
    let news = reader.expect("turns").await;
    assert_eq!(news["turns"].as_array().unwrap().len(), 2, "both in one message");
    assert_eq!((&news["turns"][0]["number"], &news["turns"][1]["number"]), (&2.into(), &1.into()));
    assert_eq!(news["totals"]["turns"], 5);
}

#[tokio::test(start_paused = true)]
async fn no_turn_is_told_twice_or_never_to_who_comes_in_between() {
    let setup = Setup::new().await;
    setup.told(Some("a"), ONE);
    // It is in the history, and not told yet.
    tokio::time::sleep(TOGETHER / 2).await;
    let mut early = Reader::new(&setup.live).await;
    assert_eq!(early.expect("snapshot").await["totals"]["turns"], 1);
    setup.settled().await;
    setup.told(Some("a"), ONE);
    assert_eq!(early.expect("turns").await["turns"][0]["number"], 2);
}

#[tokio::test(start_paused = true)]
async fn the_sums_are_those_of_the_ledger() {
    let setup = Setup::new().await;
    let mut reader = Reader::new(&setup.live).await;
    assert_eq!(reader.expect("snapshot").await["totals"]["turns"], 0);
    setup.told(Some("a"), ONE);
    let router = Some(Duration::from_millis(2));
    setup.hub.ended(Arc::new(Turn { router, pinned: false, ..turn(Some("a"), ONE) }));
    let totals = reader.expect("turns").await["totals"].clone();
    assert_eq!(totals, serde_json::to_value(setup.hub.ledger().totals()).unwrap());
    let sums = [&totals["turns"], &totals["router"]["calls"], &totals["router"]["calls_saved"]];
    assert_eq!(sums, [2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded() {
    let setup = Setup::new().await;
    for number in 0..lane::TURNS + 5 {
        setup.told(Some("long"), if number < 5 { TWO } else { ONE });
    }
    setup.settled().await;
    let snapshot = Reader::new(&setup.live).await.expect("snapshot").await;
    let turns = snapshot["lanes"][0]["turns"].as_array().unwrap().clone();
    assert_eq!((turns.len(), &turns[0]["number"]), (lane::TURNS, &6.into()));

    for number in 0..history::LANES {
        setup.told(Some(&format!("s{number}")), ONE);
        // Fewer at a time than the hub may be behind.
        tokio::task::yield_now().await;
    }
    setup.settled().await;
    let snapshot = Reader::new(&setup.live).await.expect("snapshot").await;
    assert_eq!(snapshot["lanes"].as_array().unwrap().len(), history::LANES);
    let long = SessionTag::of(&AffinityKey::new("long").unwrap()).to_string();
    assert!(!snapshot["lanes"].to_string().contains(&long), "the idle one went");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_that_it_lost_something_and_starts_again() {
    let setup = Setup::new().await;
    let mut reader = Reader::new(&setup.live).await;
    reader.expect("snapshot").await;
    let told = BEHIND + 3;
    for _ in 0..told {
        setup.told(Some("a"), ONE);
        setup.settled().await;
    }
    reader.expect("lost").await;
    assert_eq!(reader.expect("snapshot").await["totals"]["turns"], told);
    setup.told(Some("a"), ONE);
    assert_eq!(reader.expect("turns").await["turns"][0]["number"], told + 1);
}

#[tokio::test(start_paused = true)]
async fn turns_that_came_too_fast_are_counted_as_missed() {
    let setup = Setup::new().await;
    setup.settled().await;
    for _ in 0..5000 {
        setup.told(Some("a"), ONE);
    }
    setup.settled().await;
    let snapshot = Reader::new(&setup.live).await.expect("snapshot").await;
    let lane = snapshot["lanes"][0]["turns"].as_array().unwrap();
    let shown = lane.last().unwrap()["number"].as_u64().unwrap();
    assert_eq!(shown + snapshot["missed"].as_u64().unwrap(), 5000);
    assert!(shown < 5000, "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_says_that_it_is_there() {
    let setup = Setup::new().await;
    let mut reader = Reader::new(&setup.live).await;
    reader.expect("snapshot").await;
    let frame = reader.0.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(frame.starts_with(b": ") && frame.ends_with(b"\n\n"), "{frame:?}");
}

#[tokio::test(start_paused = true)]
async fn readers_are_bounded_and_give_their_places_back() {
    let setup = Setup::new().await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(Reader::new(&setup.live).await);
    }
    assert_eq!(events(State(setup.live.clone())).await.status(), 503);
    readers.pop();
    Reader::new(&setup.live).await.expect("snapshot").await;
}

#[tokio::test(start_paused = true)]
async fn readers_end_when_the_gateway_stops() {
    let setup = Setup::new().await;
    let mut reader = Reader::new(&setup.live).await;
    reader.expect("snapshot").await;
    setup.stop.cancel();
    assert!(reader.next().await.is_none());
    assert!(Reader::new(&setup.live).await.next().await.is_none(), "nor does anybody begin");
}
