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
fn further_headers_may_name_the_session() {
    let config = with_model("routing: {session_headers: [X-Run-Id, x-b], session_baggage: true}");
    assert_eq!(config.routing.session_headers, ["x-run-id", "x-b"]);
    assert!(config.routing.session_baggage);
    let shown = summary(&config).to_string();
    assert!(shown.contains("headers   x-run-id, x-b") && shown.contains("session.id"), "{shown}");
    let usual = with_model("").routing;
    assert!(usual.session_headers.is_empty() && !usual.session_baggage);
}

#[test]
fn what_names_something_else_names_no_session() {
    for (name, why) in [
        ("Authorization", "authorization holds a credential, not a session"),
        ("api-key", "api-key holds a credential, not a session"),
        ("User-Agent", "user-agent names a program, and strangers send the same"),
        ("x-client-request-id", "x-client-request-id may differ with each request"),
        ("baggage", "baggage is a list; session_baggage reads its session.id"),
        ("x-plano-model", "x-plano-* is what the gateway itself says"),
        ("my_id", "a header with an underscore is dropped at the door; write it with hyphens"),
        ("a b", "is not a header name"),
    ] {
        let text = format!("routing: {{session_headers: ['{name}']}}");
        refused(&[(&text, &format!("2: routing.session_headers[0]: {why}"))]);
    }
    refused(&[(
        "routing: {session_headers: [x-t], session_cache: {tenant_header: x-t}}",
        "2: routing.session_cache.tenant_header: names the session already; the tenant needs a header of its own",
    )]);
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
    let names = "session_id, metadata.session_id, prompt_cache_key, conversation, metadata.user_id, previous_response_id";
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
