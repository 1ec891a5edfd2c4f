use super::*;
use crate::lab::testing::{Manner, gateway, terminal};

const MODELS: [&str; 2] = ["anthropic/claude-sonnet-4-20250514", "openai/gpt-4o"];

const BOTH_RUNS: &str = "\
Run 1: WITHOUT Model Affinity
━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
turn 1  [claude-sonnet-4-20250514    ]  get_db_benchmarks, get_db_benchmarks
turn 2  [gpt-4o                      ]  get_case_studies, get_case_studies  ← switched
turn 3  [claude-sonnet-4-20250514    ]  check_feature_support  ← switched
turn 4  [gpt-4o                      ]  final answer  ← switched

✗ Without affinity: model switched 3 time(s)


Run 2: WITH Model Affinity (X-Model-Affinity: ID…)
━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
turn 1  [claude-sonnet-4-20250514    ]  get_db_benchmarks, get_db_benchmarks
turn 2  [claude-sonnet-4-20250514    ]  get_case_studies, get_case_studies  ✓ pinned
turn 3  [claude-sonnet-4-20250514    ]  check_feature_support  ✓ pinned
turn 4  [claude-sonnet-4-20250514    ]  final answer  ✓ pinned

✓ With affinity: claude-sonnet-4-20250514 for all 4 turns

══ Final Report (pinned session) ═════════════════════════════════════
RECOMMENDATION: PostgreSQL.
";

const WORTH: &str =
    "What pinning was worth here: 60 % of the prompts from the cache instead of 32 %\n";

fn plan(turns: usize) -> Plan<'static> {
    Plan { turns, without: Without::Session, pace: &|| Duration::ZERO }
}

/// The output with the session's random id taken out.
fn without_id(text: &str) -> String {
    let (before, rest) = text.split_once("X-Model-Affinity: ").unwrap();
    let (id, after) = rest.split_once('…').unwrap();
    assert_eq!(id.len(), 8);
    format!("{before}X-Model-Affinity: ID…{after}")
}

#[tokio::test]
async fn a_gateway_that_pins_holds_one_model() {
    let url = gateway(Manner::Pins, MODELS).await;
    let (mut terminal, out, err) = terminal();
    assert!(run(&[&url], &plan(10), &mut terminal).await.unwrap());
    let out = without_id(&out.text());
    assert_eq!(out.get(..BOTH_RUNS.len()), Some(BOTH_RUNS), "{out}");
    assert!(out.ends_with(&format!("{}\n{WORTH}", "═".repeat(70))), "{out}");
    assert_eq!(err.text(), "");
}

#[tokio::test]
async fn a_gateway_that_does_not_pin_is_told() {
    let url = gateway(Manner::Ignores, MODELS).await;
    let (mut terminal, out, _) = terminal();
    assert!(!run(&[&url], &plan(10), &mut terminal).await.unwrap());
    assert!(out.text().contains("✗ With affinity: model switched 3 time(s)"), "{}", out.text());
    assert!(!out.text().contains("pinned\n"), "{}", out.text());
}

#[tokio::test]
async fn another_model_that_answers_in_place_of_the_pinned_one_is_told() {
    let url = gateway(Manner::Swaps, MODELS).await;
    let (mut terminal, out, _) = terminal();
    assert!(!run(&[&url], &plan(10), &mut terminal).await.unwrap());
    let out = out.text();
    assert!(out.contains("✓ pinned  (the answer names openai/gpt-4o)"), "{out}");
    assert!(out.contains("✗ With affinity: the answers name several models"), "{out}");
}

#[tokio::test]
async fn turns_are_limited() {
    let url = gateway(Manner::Pins, MODELS).await;
    let (mut terminal, out, _) = terminal();
    assert!(run(&[&url], &plan(2), &mut terminal).await.unwrap());
    let out = out.text();
    assert!(out.contains("✓ With affinity: claude-sonnet-4-20250514 for all 2 turns"), "{out}");
    assert!(out.contains("without a final answer.\nWhat pinning was worth here: "), "{out}");

    let (mut terminal, ..) = crate::lab::testing::terminal();
    assert!(!run(&[&url], &plan(0), &mut terminal).await.unwrap());
}

#[tokio::test]
async fn calls_go_over_the_gateways_in_turn() {
    // Two gateways that know nothing of each other: each pins on its own, to its own first model.
    let one = gateway(Manner::Pins, MODELS).await;
    let two = gateway(Manner::Pins, [MODELS[1], MODELS[0]]).await;
    let (mut terminal, out, _) = terminal();
    assert!(!run(&[&one, &two], &plan(10), &mut terminal).await.unwrap());
    assert!(out.text().contains("✗ With affinity: model switched 3 time(s)"), "{}", out.text());
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_told_on_the_error_stream() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (mut terminal, out, err) = terminal();
    assert!(!run(&[&url], &plan(10), &mut terminal).await.unwrap());
    assert!(err.text().starts_with(&format!("demo: cannot connect to {url}/v1")), "{}", err.text());
    assert!(!out.text().contains("✓"), "{}", out.text());
}

#[tokio::test(start_paused = true)]
async fn turns_follow_each_other_at_the_pace_and_the_first_at_once() {
    let url = gateway(Manner::Pins, MODELS).await;
    let (mut terminal, ..) = terminal();
    let pace = &|| Duration::from_secs(100);
    let began = tokio::time::Instant::now();
    let plan = Plan { pace, ..plan(3) };
    assert!(run(&[&url], &plan, &mut terminal).await.unwrap());
    assert_eq!(began.elapsed().as_secs() / 100, 4, "two pauses in each of two runs");
}
