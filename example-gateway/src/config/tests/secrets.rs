//! What may never be shown, and the variables that it comes from.

use super::*;

#[test]
fn client_keys_and_numbers_may_come_from_variables() {
    let config = with_model(
        "listeners:
  - address: 0.0.0.0
    port: $PORT
    client_keys: [{name: team, key: '${TEAM_KEY}', scope: team-a}]
",
    );
    let [listener] = &config.listeners[..] else { panic!() };
    assert_eq!(listener.port, 4000);
    assert_eq!(listener.client_keys[0].key.expose_secret(), "hush-TEAM_KEY");
    assert_eq!(listener.client_keys[0].scope.as_ref().unwrap().as_str(), "team-a");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn no_debug_form_and_no_summary_shows_a_secret() {
    let config = with_model(
        "listeners: [{name: l, client_keys: [{name: a, key: $TEAM_KEY}]}]
llm_providers: [{model: groq/m, access_key: $OPENAI_API_KEY, headers: {x: $TEAM_KEY}, http_host: $TEAM_KEY}]
routing:
  router: {type: llm, url: 'http://localhost:8000', access_key: $TEAM_KEY}
  session_cache: {type: redis, url: 'redis://user:$REDIS_PASSWORD@h:1/2?sentinelPassword=hush'}
",
    );
    let shown = format!("{config:?}\n{:?}\n{}", summary(&config), summary(&config));
    assert!(!shown.contains("hush"), "{shown}");
}

/// A file that lost its end, or one of its lines, is read or refused, and never shows a secret.
#[test]
fn damaged_files_neither_panic_nor_show_secrets() {
    let text = "version: v0.4.0
listeners: [{name: l, port: 12000, client_keys: [{name: a, key: hush, scope: s}]}]
model_providers:
  - model: openai/gpt-4o
    access_key: hush
    headers:
      x-key: \"hush $TEAM_KEY\"
routing:
  session_cache:
    type: redis
    url: redis://u:hush@h:6379
";
    let whole = read(text);
    assert!(whole.is_ok(), "{whole:?}");
    let cut = (0..text.len()).map(|end| text[..end].to_owned());
    let lines = text.lines().count();
    let without = (0..lines).map(|left_out| {
        let kept = text.lines().enumerate().filter(|(i, _)| *i != left_out);
        kept.map(|(_, line)| format!("{line}\n")).collect::<String>()
    });
    for damaged in cut.chain(without) {
        if let Err(errors) = read(&damaged) {
            let shown = errors.to_string();
            assert!(!shown.is_empty() && !shown.contains("hush"), "{damaged}\n{shown}");
            assert!(shown.lines().all(|line| line.starts_with("config.yaml")), "{shown}");
        }
    }
}
