//! What tells the session of a request.

use super::*;

#[test]
fn no_body_is_read_by_default() {
    for text in ["", "routing: {body_ids: [], fingerprint: }"] {
        let routing = with_model(text).routing;
        assert!(routing.body_ids.is_empty() && routing.fingerprint.is_none(), "{text}");
    }
}

#[test]
fn the_members_of_a_body_are_named_as_they_are_written() {
    let config = with_model(
        "routing:
  body_ids: [prompt_cache_key, conversation, metadata.user_id, previous_response_id]
  fingerprint: {secret: $TEAM_KEY}
",
    );
    let expected =
        [BodyId::PromptCacheKey, BodyId::Conversation, BodyId::UserId, BodyId::PreviousResponseId];
    assert_eq!(config.routing.body_ids, expected);
    assert!(config.routing.fingerprint.is_some() && config.warnings.is_empty());
    assert!(!format!("{config:?}").contains("hush"));
    let shown = summary(&config).to_string();
    let line = "body ids  prompt_cache_key, conversation, metadata.user_id, previous_response_id";
    assert!(shown.contains(line) && shown.contains("openings"), "{shown}");
}

#[test]
fn a_fingerprint_over_replicas_needs_a_secret() {
    assert!(with_model("routing: {fingerprint: {}}").warnings.is_empty());
    let cache = "session_cache: {type: redis, url: 'redis://h'}";
    let config = with_model(&format!("routing: {{fingerprint: {{}}, {cache}}}"));
    assert!(config.routing.fingerprint.is_some());
    let expected = "routing.fingerprint: without a secret, replicas do not find the same sessions";
    assert_eq!(warnings(&config), [expected]);
}

#[test]
fn what_is_not_known_is_refused() {
    let names = "prompt_cache_key, conversation, metadata.user_id, previous_response_id";
    refused(&[
        (
            "routing: {body_ids: [user]}",
            &format!("2: routing.body_ids[0]: must be one of: {names}"),
        ),
        ("routing: {body_ids: conversation}", "2: routing.body_ids: must be a list"),
        ("routing: {body_id: []}", "2: routing.body_id: unknown key, did you mean body_ids?"),
        ("routing: {fingerprint: yes}", "2: routing.fingerprint: must be a mapping (key: value)"),
        (
            "routing: {fingerprint: {sekret: x}}",
            "2: routing.fingerprint.sekret: unknown key, did you mean secret?",
        ),
        (
            "routing: {fingerprint: {secret: $NOT_SET}}",
            "2: routing.fingerprint.secret: environment variable NOT_SET is not set",
        ),
    ]);
}
