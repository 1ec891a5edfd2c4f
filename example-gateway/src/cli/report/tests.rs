use serde_json::json;

use super::*;
use crate::lab::testing::terminal;

#[test]
fn figures_are_readable() {
    for (number, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (12_345_678, "12 345 678")] {
        assert_eq!(grouped(number), text);
    }
    for (micros, text) in [(0, "0.0"), (49, "0.0"), (50, "0.1"), (1_234_567, "1 234.6")] {
        assert_eq!(millis(micros), text);
    }
    for (part, whole, text) in [(0, 0, "-"), (1, 3, "33 %"), (2, 3, "67 %"), (7, 7, "100 %")] {
        assert_eq!(share(part, whole), text);
    }
    assert_eq!(share(u64::MAX, u64::MAX), "100 %");
    for (seconds, text) in [(59, "59 s"), (60, "1 min"), (3_660, "1 h 1 min"), (90_000, "1 d 1 h")]
    {
        assert_eq!(span(Duration::from_secs(seconds)), text);
    }
}

#[test]
fn rows_stand_below_each_other_and_totals_last() {
    let part = |turns: u64, spent: &str, cached: u64| {
        json!({
            "turns": turns,
            "tokens": {"prompt": 2000, "cached": cached, "written": 0, "output": 7},
            "cost": {"spent": spent, "saved_by_cache": "0.5", "cache_write_premium": "0"},
            "turns_without": {"prompt": 1, "cached": 1, "written": 1, "output": 1, "cost": 4}
        })
    };
    let row = |turns: u64| {
        let mut row = part(turns, "1234.5678905", 500);
        let more = json!({
            "pinned": part(1, "0.25", 1000), "unpinned": part(turns - 1, "1234.3178905", 0), "pinned_turns": 1, "incomplete_turns": 0, "switches": 0,
            "router": {"calls": 2, "calls_saved": 1, "time_us": 4000, "time_saved_us": 2000},
            "regret": {"agreed": 3, "otherwise": 1, "no_match": 0, "failed": 9}
        });
        row.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        row
    };
    let with = |mut row: serde_json::Value, key: &str, name: &str| {
        row[key] = name.into();
        row
    };
    let (mut out, printed, _) = terminal();
    let answer = json!({
        "since": 0,
        "totals": row(12_003),
        "models": [with(row(3), "model", "a/one"), with(row(12_000), "model", "\u{1b}[2Jé/longer")],
        "routes": [with(row(3), "route", "code"), with(row(3), "x", "")],
    });
    let base = "http://localhost:1".parse().unwrap();
    print(&base, &serde_json::from_value(answer).unwrap(), &mut out).unwrap();
    let text = printed.text();
    let lines: Vec<_> = text.lines().collect();
    let expected = [
        "model         turns  pinned  switches  prompt tokens  cached  output tokens  unknown",
        "a/one             3       1         0          2 000    25 %              7        1",
        "[2Jé/longer  12 000       1         0          2 000    25 %              7        1",
        "total        12 003       1         0          2 000    25 %              7        1",
    ];
    assert_eq!(lines[2..6], expected, "{text}");
    let expected = [
        "route        turns  pinned  router calls  saved  router ms  saved ms*  regret",
        "code             3       1             2      1        4.0        2.0    25 %",
        "(no route)       3       1             2      1        4.0        2.0    25 %",
        "total       12 003       1             2      1        4.0        2.0    25 %",
    ];
    assert_eq!(lines[7..11], expected, "{text}");
    let expected = [
        "model             spent $  pinned $      others $  saved by cache $  pinned cached  others cached  unknown cost",
        "a/one        1 234.567891  0.250000  1 234.317891          0.500000           50 %            0 %             4",
    ];
    assert_eq!(lines[12..14], expected, "{text}");
    let expected = "code        1 234.567891  0.250000  1 234.317891          0.500000           50 %            0 %             4";
    assert_eq!(lines[18], expected, "{text}");
}

#[test]
fn money_is_rounded_to_a_millionth_of_a_dollar() {
    for (picodollars, text) in [
        (0, "0.000000"),
        (499_999, "0.000000"),
        (500_000, "0.000001"),
        (1_234_567_000_000_000_000, "1 234 567.000000"),
        (u64::MAX, "18 446 744.073709"),
    ] {
        assert_eq!(dollars(Picodollars::new(picodollars)), text);
    }
}
