use super::policy::Policy;
use super::*;

const DOC: &str = include_str!("../../../../docs/replay.md");

fn rules() -> Rules {
    Rules {
        session_ttl: Duration::from_secs(600),
        max_switch_share: Share::percent(10),
        cache_min_tokens: 1024,
    }
}

/// Pins that live as long as the longest cache, as in the docs.
fn long() -> Rules {
    Rules { session_ttl: Duration::from_secs(1800), ..rules() }
}

fn played(trace: &str) -> Result<Vec<Outcome>, TraceError> {
    play(trace.as_bytes(), &rules(), &mut Models::default())
}

fn spent(trace: &str) -> [String; 3] {
    let outcomes = played(trace).unwrap();
    [0, 1, 2].map(|place| outcomes[place].cost.spent.to_string())
}

fn call(seconds: u64, choice: &str, prompt: u64, user_turn: bool) -> String {
    let at = seconds * 1000;
    format!(
        r#"{{"at_ms":{at},"session":"a","choice":"{choice}","prompt_tokens":{prompt},"output_tokens":1000,"user_turn":{user_turn}}}"#
    )
}

const SONNET: &str = "anthropic/claude-sonnet-5-5";
const HAIKU: &str = "anthropic/claude-haiku-5-5";
const TERRA: &str = "openai/gpt-6.1-terra";

/// By hand, in millionths of a dollar. Never: 10,000 × 2.50 + 1,000 × 10 = 35,000 at Sonnet, then
/// 12,000 × 1.25 + 1,000 × 5 = 20,000 at Terra, then 10,000 × 0.10 + 4,000 × 2.50 + 10,000 = 21,000 at Sonnet
/// again. Always: 35,000, 10,000 × 0.10 + 2,000 × 2.50 + 10,000 = 16,000, 12,000 × 0.10 + 15,000 = 16,200.
#[test]
fn a_loop_costs_what_a_hand_calculates() {
    let trace = [
        call(0, SONNET, 10_000, true),
        call(10, TERRA, 12_000, false),
        call(20, SONNET, 14_000, false),
    ];
    let trace = trace.join("\n\n");
    assert_eq!(spent(&trace), ["0.076", "0.0672", "0.0672"], "a loop of tools is not left");
    let outcomes = played(&trace).unwrap();
    assert_eq!(outcomes.iter().map(|it| it.switches).collect::<Vec<_>>(), [2, 0, 0]);
    assert_eq!((outcomes[0].cached_tokens, outcomes[0].written_tokens), (10_000, 26_000));
    assert_eq!((outcomes[1].cached_tokens, outcomes[1].prompt_tokens), (22_000, 36_000));
    assert!(outcomes.iter().all(|it| (it.requests, it.sessions) == (3, 1)));
}

/// As above, and where turns of the user begin. To stay, the second turn is expected to cost
/// 10,000 × 0.10 + 1,000 × 2.50 + 10,000 = 13,500; at Terra 11,000 × 1.25 + 5,000 = 18,750, so the session
/// stays; at Haiku 11,000 × 0.125 + 500 = 1,875, so it moves: 12,000 × 0.125 + 500 = 2,000. There the third
/// costs 12,000 × 0.01 + 2,000 × 0.125 + 500 = 870, and Sonnet would be dearer.
#[test]
fn a_turn_moves_the_session_where_that_is_cheaper() {
    let turns = |other: &str| {
        let calls = [(0, SONNET, 10_000), (10, other, 12_000), (20, SONNET, 14_000)];
        calls.map(|(at, choice, prompt)| call(at, choice, prompt, true)).join("\n")
    };
    assert_eq!(spent(&turns(TERRA)), ["0.076", "0.0672", "0.0672"]);
    assert_eq!(spent(&turns(HAIKU)), ["0.058", "0.0672", "0.03787"]);
}

#[test]
fn an_idle_session_is_decided_again_and_its_cache_is_gone() {
    let trace =
        |seconds| [call(0, SONNET, 10_000, true), call(seconds, TERRA, 12_000, false)].join("\n");
    // 35,000 + 12,000 × 2.50 + 10,000: the cache lives five minutes, the pin ten.
    assert_eq!(spent(&trace(300))[1], "0.075");
    assert_eq!(spent(&trace(600))[1], "0.055", "35,000 + 20,000 at the new choice");
}

#[test]
fn errors_name_the_line_and_the_field() {
    let good = call(5, SONNET, 10, true);
    let with = |field: &str, value: &str| {
        let mut object: serde_json::Map<_, _> = serde_json::from_str(&good).unwrap();
        object.insert(field.to_owned(), serde_json::from_str(value).unwrap());
        serde_json::Value::from(object).to_string()
    };
    let without = good.replace(r#""output_tokens":1000,"#, "");
    for (line, told) in [
        ("{".to_owned(), "line 2 is not a JSON object: "),
        ("[1]".to_owned(), "line 2 is not a JSON object: "),
        (with("tokens", "1"), "line 2 has the unknown field \"tokens\""),
        (with("at_ms", "4999"), "line 2: at_ms: is before the line above"),
        (with("at_ms", "1.5"), "line 2: at_ms: must be a whole number, 0 to "),
        (with("session", "\"\""), "line 2: session: must be text of 1 to 256 bytes"),
        (with("session", "7"), "line 2: session: must be text"),
        (with("choice", "\"sonnet\""), "line 2: choice: must be the name of a model, provider/id"),
        (
            with("choice", "\"a/b\""),
            "line 2: choice: no price is known of a/b; --config can give one",
        ),
        (with("prompt_tokens", "-1"), "line 2: prompt_tokens: must be a whole number, 0 to "),
        (without, "line 2: output_tokens: must be a whole number, 0 to "),
        (
            with("same_prefix_tokens", "11"),
            "line 2: same_prefix_tokens: must be a whole number, 0 to 10",
        ),
        (with("user_turn", "1"), "line 2: user_turn: must be true or false"),
        (" ".repeat(20_000), "line 2 has more than 16384 bytes"),
    ] {
        let error = played(&format!("{good}\n{line}\n{good}")).unwrap_err().to_string();
        assert!(error.starts_with(told), "{line:.100}: {error}");
    }
    assert!(played("\n\n").unwrap().iter().all(|outcome| outcome.requests == 0));
}

fn generated(workload: Workload, seed: u64, sessions: u32) -> String {
    let calls = generate(workload, seed, sessions);
    calls.iter().map(|call| call.line() + "\n").collect()
}

#[test]
fn a_generated_trace_is_the_same_for_the_same_seed_and_can_be_read() {
    for workload in Workload::ALL {
        let trace = generated(workload, 7, 20);
        assert_eq!(generated(workload, 7, 20), trace);
        assert_ne!(generated(workload, 8, 20), trace);
        let outcomes = played(&trace).unwrap();
        assert_eq!(outcomes[0].sessions, 20, "{workload:?}");
        let lines = u64::try_from(trace.lines().count()).unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.requests == lines));
    }
}

#[test]
fn weighing_costs_is_no_dearer_than_to_stay_or_to_follow_the_router() {
    for (workload, seed) in Workload::ALL.into_iter().flat_map(|it| (1..=5).map(move |n| (it, n))) {
        let trace = generated(workload, seed, 100);
        let outcomes = play(trace.as_bytes(), &long(), &mut Models::default()).unwrap();
        let spent = |policy| outcomes.iter().find(|it| it.policy == policy).unwrap().cost.spent;
        let cost = spent(Policy::Cost);
        assert!(cost <= spent(Policy::Always), "{workload:?} {seed}: {outcomes:?}");
        assert!(cost <= spent(Policy::Never), "{workload:?} {seed}: {outcomes:?}");
    }
}

#[test]
fn the_table_in_the_docs_is_true() {
    for workload in Workload::ALL {
        let trace = generated(workload, 1, 100);
        let outcomes = play(trace.as_bytes(), &long(), &mut Models::default()).unwrap();
        for line in lines(&outcomes) {
            assert!(DOC.contains(&line), "docs/replay.md has no line {line:?} ({workload:?})");
        }
    }
}
