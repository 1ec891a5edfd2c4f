use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use affinity_layer::{AffinityKey, ModelName, Outcome, RouteName};
use serde_json::{Value, json};

use super::books::{Ledger, MAX_ROUTES, OTHER};
use super::pins::MAX_PINS;
use crate::config::{Config, Mode};
use crate::prices::TokenCounts;
use crate::stack::turns::observer::Verdict;
use crate::stack::turns::tag::SessionTag;
use crate::stack::turns::turn::{Group, Turn};
use crate::upstream::providers::Upstreams;

const MODELS: &str = "
version: v0.4.0
model_providers:
  - model: a/one
    base_url: 'http://127.0.0.1:1'
    price: {input: 2, cached_input: 0.10, cache_write: 2.50, output: 10}
  - {model: wild/*, base_url: 'http://127.0.0.1:1'}
";

fn ledger() -> Ledger {
    let config = Config::parse(MODELS, "test", &|_| None, Mode::Full).unwrap();
    Ledger::new(Arc::new(Upstreams::new(&config)))
}

fn session(id: impl Display) -> Option<SessionTag> {
    Some(SessionTag::of(&AffinityKey::new(&format!("{id}")).unwrap()))
}

/// A pinned turn of 100 tokens of which 60 were cached, and 7 more.
fn turn(session: Option<SessionTag>, model: &str, route: Option<&str>) -> Turn {
    Turn {
        at: SystemTime::now(),
        session,
        route: route.map(|route| RouteName::new(route).unwrap()),
        outcome: Outcome::Hit,
        pinned: true,
        group: Group::Enforced,
        tokens: TokenCounts {
            prompt: Some(100),
            cached: Some(60),
            written: Some(0),
            written_1h: None,
            output: Some(7),
        },
        ..Turn::of_model(ModelName::new(model).unwrap())
    }
}

fn json(ledger: &Ledger) -> Value {
    serde_json::to_value(ledger.report()).unwrap()
}

#[test]
fn saved_calls_are_worth_the_mean_of_those_made() {
    let ledger = ledger();
    let hit = turn(session("s"), "a/one", Some("code"));
    let asked = |millis| Turn { router: Some(Duration::from_millis(millis)), ..hit.clone() };
    ledger.add(&hit);
    assert_eq!(json(&ledger)["totals"]["router"]["time_saved_us"], Value::Null);
    for turn in [asked(10), hit.clone(), asked(40), hit.clone()] {
        ledger.add(&turn);
    }
    let router = json!({"calls": 2, "calls_saved": 3, "time_us": 50_000, "time_saved_us": 75_000});
    let books = json(&ledger);
    for row in [&books["totals"], &books["models"][0], &books["routes"][0]] {
        assert_eq!(row["router"], router);
        assert_eq!((&row["turns"], &row["tokens"]["prompt"]), (&json!(5), &json!(500)));
        assert_eq!((&row["tokens"]["cached"], &row["tokens"]["output"]), (&json!(300), &json!(35)));
    }
}

#[test]
fn what_is_not_told_is_counted_as_unknown_and_a_refusal_costs_nothing() {
    let ledger = ledger();
    let told = turn(None, "a/one", None);
    let untold = Turn { tokens: TokenCounts::default(), complete: false, ..told.clone() };
    let without = |tokens| Turn { tokens, ..told.clone() };
    ledger.add(&without(TokenCounts { output: None, ..told.tokens }));
    ledger.add(&without(TokenCounts { cached: None, written: None, ..told.tokens }));
    ledger.add(&Turn { status: None, ..untold.clone() });
    ledger.add(&Turn { status: Some(502), ..untold });
    let total = &json(&ledger)["totals"];
    assert_eq!(total["tokens"], json!({"prompt": 200, "cached": 60, "written": 0, "output": 7}));
    let unknown = json!({"prompt": 1, "cached": 2, "written": 2, "output": 2, "cost": 3});
    assert_eq!(total["turns_without"], unknown);
    assert_eq!((&total["turns"], &total["incomplete_turns"]), (&json!(4), &json!(2)));
}

/// By hand, in millionths of a dollar per token: 40 × 2 + 60 × 0.10 + 7 × 10 = 156, and 60 × 1.90 = 114.
#[test]
fn money_is_added_up_to_the_last_digit_pinned_turns_apart() {
    let ledger = ledger();
    let add = |turn: Turn| ledger.add(&Turn { cost: ledger.cost(&turn), ..turn });
    let pinned = turn(session("s"), "a/one", Some("code"));
    for _ in 0..3 {
        add(pinned.clone());
    }
    let tokens = TokenCounts { cached: Some(0), written: Some(100), ..pinned.tokens };
    // 100 × 2.50 + 7 × 10 = 320, of which 100 × 0.50 are for writing.
    add(Turn { pinned: false, tokens, ..pinned.clone() });
    add(Turn { model: ModelName::new("wild/x").unwrap(), ..pinned.clone() });
    add(Turn { tokens: TokenCounts { output: None, ..tokens }, ..pinned.clone() });
    add(Turn { status: Some(502), ..pinned });
    let books = json(&ledger);
    let cost = |spent, saved, premium| json!({"spent": spent, "saved_by_cache": saved, "cache_write_premium": premium});
    let route = &books["routes"][0];
    assert_eq!(route["cost"], cost("0.000788", "0.000342", "0.00005"));
    assert_eq!(route["pinned"]["cost"], cost("0.000468", "0.000342", "0"));
    assert_eq!(route["unpinned"]["cost"], cost("0.00032", "0", "0.00005"));
    assert_eq!((&route["turns"], &route["turns_without"]["cost"]), (&json!(7), &json!(2)));
    assert_eq!((&route["pinned"]["turns"], &route["unpinned"]["turns"]), (&json!(6), &json!(1)));
    assert_eq!(books["totals"]["cost"], route["cost"]);
    let wild = &books["models"][1];
    assert_eq!((&wild["model"], &wild["cost"]), (&json!("wild/*"), &cost("0", "0", "0")));
    assert_eq!(wild["turns_without"]["cost"], 1, "unknown is not nothing");
    assert_eq!(books["models"][0]["cost"], route["cost"]);
}

#[test]
fn names_of_clients_make_a_bounded_number_of_rows() {
    let ledger = ledger();
    for n in 0..MAX_ROUTES + 50 {
        let (model, route) = (format!("wild/{n}"), format!("route {n}"));
        ledger.add(&turn(session(n), &model, Some(&route)));
    }
    let books = json(&ledger);
    let models = books["models"].as_array().unwrap();
    assert_eq!((models.len(), &models[0]["model"]), (1, &json!("wild/*")));
    let routes = books["routes"].as_array().unwrap();
    assert_eq!(routes.len(), MAX_ROUTES + 1);
    let other = routes.iter().find(|row| row["route"] == OTHER).unwrap();
    assert_eq!(other["turns"], 50);
    let turns = |rows: &[Value]| rows.iter().map(|row| row["turns"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(turns(routes), books["totals"]["turns"].as_u64().unwrap());
}

#[test]
fn the_oldest_sessions_go_and_their_turns_stay_in_the_totals() {
    let ledger = ledger();
    ledger.add(&turn(session("first"), "a/one", None));
    for n in 0..MAX_PINS {
        ledger.add(&turn(session(n), "a/one", None));
        if n == 5 {
            ledger.add(&turn(session("first"), "a/one", None));
        }
    }
    ledger.add(&turn(None, "a/one", None));
    let sessions = ledger.sessions(usize::MAX);
    assert_eq!(sessions.len(), MAX_PINS);
    let rows = serde_json::to_value(&sessions).unwrap();
    let row = |id: Option<SessionTag>| {
        let name = id.unwrap().to_string();
        rows.as_array().unwrap().iter().find(|row| row["session"] == name)
    };
    assert_eq!(row(session("first")).unwrap()["turns"], 2, "it was used since");
    assert!(row(session(0)).is_none());
    assert_eq!(rows[0]["session"], session(MAX_PINS - 1).unwrap().to_string());
    assert_eq!(json(&ledger)["totals"]["turns"], MAX_PINS + 3);
}

#[test]
fn a_switch_is_another_model_in_the_same_session() {
    let ledger = ledger();
    let answers = |id: &str, model: &str| {
        ledger.answers(session(id).unwrap(), &ModelName::new(model).unwrap())
    };
    assert!(!answers("s", "a/one"));
    assert!(!answers("s", "a/one"));
    assert!(!answers("t", "wild/x"), "another session");
    assert!(answers("s", "wild/x"));
    assert!(!answers("s", "wild/x"));
    assert!(answers("s", "wild/y"), "behind one wildcard there are many models");
}

#[test]
fn verdicts_are_counted_by_route() {
    let ledger = ledger();
    let code = RouteName::new("code").unwrap();
    for verdict in Verdict::ALL {
        ledger.judged(Some(&code), verdict);
    }
    ledger.judged(None, Verdict::Otherwise);
    let books = json(&ledger);
    let regret = |otherwise, others| json!({"agreed": others, "otherwise": otherwise, "no_match": others, "failed": others});
    assert_eq!(books["totals"]["regret"], regret(2, 1));
    assert_eq!(
        (&books["routes"][0]["route"], &books["routes"][1]["route"]),
        (&Value::Null, &json!("code"))
    );
    assert_eq!(books["routes"][0]["regret"], regret(1, 0));
    assert_eq!(books["routes"][1]["regret"], regret(1, 1));
    assert_eq!(books["totals"]["turns"], 0, "a turn is counted when it ends");
}
