//! Files with random damage: each is read or refused in full, and no variable's value is told.
//!
//! `PROPTEST_CASES` makes it run for longer.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

const FILES: [&str; 3] = [
    include_str!("../../../config/default.yaml"),
    include_str!("../../../config/pinning-demo.yaml"),
    "version: v0.4.0
listeners: [{name: l, port: $PORT, client_keys: [{name: a, key: $TEAM_KEY, scope: s}]}]
model_providers:
  - model: openai/gpt-4o
    access_key: $OPENAI_API_KEY
    headers: {x-key: \"$TEAM_KEY\"}
  - {model: groq/*, passthrough_auth: true, protocols: [chat], input: [text, image]}
model_aliases: {fast: {target: openai/gpt-4o}}
routing:
  session_expiry: sliding
  release: user_turn
  body_ids: [conversation]
  router: {type: llm, url: 'http://localhost:8000', access_key: $TEAM_KEY, timeout_ms: 7}
  session_cache:
    type: redis
    url: redis://u:$REDIS_PASSWORD@h:6379
limits: {body_bytes: 1048576}
",
];

#[derive(Clone, Debug)]
enum Damage {
    /// Another value behind the first colon of a line.
    Value(Index, &'static str),
    Drop(Index),
    Twice(Index),
    Indent(Index, usize),
    /// A character anywhere.
    Insert(Index, char),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let values = vec![
        "",
        "null",
        "~",
        "[]",
        "{}",
        "[[]]",
        "{a: {b: c}}",
        "-1",
        "0",
        "0.5",
        "1e20",
        "true",
        "99999999999999999999",
        "-.inf",
        ".nan",
        "10 minutes",
        "$TEAM_KEY",
        "${TEAM_KEY}",
        "$NOT_SET",
        "${",
        "$",
        "$$",
        "'",
        "\"",
        "\"\\ud800\"",
        "|",
        "> x",
        "&a [*a]",
        "*a",
        "!!binary aGk=",
        "é",
        "http://",
        "file:///etc/passwd",
        "redis://u:$REDIS_PASSWORD@h:99999",
        "openai/gpt-4o",
        "a, b",
        "\u{feff}",
        "\t",
        "%",
        "@",
        "- x",
        "? x",
        "{<<: *a}",
        "2026-11-20",
        "0x10",
        "0o17",
        "1_000",
    ];
    let index = any::<Index>;
    let odd = prop_oneof![
        select("{}[]:#&*!|>'\"%@`-?,\t\n\r\u{0}\u{feff}$".chars().collect::<Vec<_>>()),
        any::<char>()
    ];
    prop_oneof![
        4 => (index(), select(values)).prop_map(|(line, value)| Damage::Value(line, value)),
        1 => index().prop_map(Damage::Drop),
        1 => index().prop_map(Damage::Twice),
        1 => (index(), 0..9_usize).prop_map(|(line, by)| Damage::Indent(line, by)),
        2 => (index(), odd).prop_map(|(at, odd)| Damage::Insert(at, odd)),
        1 => index().prop_map(Damage::Cut),
    ]
}

fn damaged(text: &str, damage: &Damage) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return String::new();
    }
    let place = |index: &Index| index.index(lines.len());
    let boundary = |index: &Index| {
        let ends: Vec<_> = text.char_indices().map(|(at, _)| at).collect();
        ends[index.index(ends.len())]
    };
    match damage {
        Damage::Value(line, value) => {
            let line = place(line);
            if let Some(colon) = lines[line].find(": ") {
                lines[line].replace_range(colon + 2.., value);
            }
        }
        Damage::Drop(line) => drop(lines.remove(place(line))),
        Damage::Twice(line) => {
            let line = place(line);
            lines.insert(line, lines[line].clone());
        }
        Damage::Indent(line, by) => {
            let line = place(line);
            lines[line] = format!("{:by$}{}", "", lines[line].trim_start());
        }
        Damage::Insert(at, odd) => {
            let (before, after) = text.split_at(boundary(at));
            return format!("{before}{odd}{after}");
        }
        Damage::Cut(at) => return text[..boundary(at)].to_owned(),
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(1000), failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_damaged_file_is_read_or_refused_and_tells_no_variable(
        file in select(FILES.to_vec()),
        damages in vec(damage(), 0..5),
    ) {
        let text = damages.iter().fold(file.to_owned(), |text, damage| damaged(&text, damage));
        match read(&text) {
            Ok(config) => {
                prop_assert!(!config.listeners.is_empty() && !config.providers.is_empty());
                let _ = (format!("{config:?}"), summary(&config).to_string());
                let told = warnings(&config).join("\n");
                prop_assert!(!told.contains("hush-"), "{}\n{}", text, told);
            }
            Err(errors) => {
                let told = errors.to_string();
                prop_assert!(!told.is_empty() && !told.contains("hush-"), "{}\n{}", text, told);
                prop_assert!(told.lines().all(|line| line.starts_with("config.yaml")), "{}", told);
                let most = u64::try_from(text.lines().count()).unwrap() + 1;
                let within = |finding: &Finding| finding.line.is_none_or(|line| (1..=most).contains(&line));
                prop_assert!(errors.iter().all(within), "{}\n{}", text, told);
            }
        }
    }
}
