use super::*;

fn key(body: &str) -> Option<(IdKind, String)> {
    let key = BodyIds::of_body(body.as_bytes()).key(&BodyId::ALL)?;
    Some((key.kind(), key.session().to_owned()))
}

fn is(kind: IdKind, id: &str) -> Option<(IdKind, String)> {
    Some((kind, id.to_owned()))
}

const UUID: &str = "3f1c0d52-8a77-4e0b-9c11-0123456789ab";

#[test]
fn each_member_names_a_session_of_its_kind() {
    assert_eq!(key(r#"{"session_id":"s"}"#), is(IdKind::SessionId, "s"));
    let metadata = r#"{"metadata":{"session_id":"s"}}"#;
    assert_eq!(key(metadata), is(IdKind::MetadataSessionId, "s"));
    assert_eq!(key(r#"{"prompt_cache_key":"a"}"#), is(IdKind::PromptCacheKey, "a"));
    assert_eq!(key(r#"{"conversation":"c"}"#), is(IdKind::Conversation, "c"));
    let object = r#"{"conversation":{"x":1,"id":"c"}}"#;
    assert_eq!(key(object), is(IdKind::Conversation, "c"));
    assert_eq!(key(r#"{"previous_response_id":"r"}"#), is(IdKind::Response, "r"));
}

#[test]
fn the_first_in_order_counts_wherever_it_stands() {
    let body = r#"{"previous_response_id":"r","conversation":"c","prompt_cache_key":"a"}"#;
    assert_eq!(key(body), is(IdKind::PromptCacheKey, "a"));
    let metadata = body.replacen('{', r#"{"metadata":{"session_id":"m"},"#, 1);
    assert_eq!(key(&metadata), is(IdKind::MetadataSessionId, "m"));
    let top = metadata.replacen('{', r#"{"session_id":"s","#, 1);
    assert_eq!(key(&top), is(IdKind::SessionId, "s"));
    let ids = BodyIds::of_body(body.as_bytes());
    let asked = ids.key(&[BodyId::PreviousResponseId, BodyId::Conversation]).unwrap();
    assert_eq!(asked.kind(), IdKind::Conversation);
    assert_eq!(ids.key(&[]), None);
    let unusable = r#"{"prompt_cache_key":"","conversation":"c"}"#;
    assert_eq!(key(unusable), is(IdKind::Conversation, "c"));
}

#[test]
fn a_user_id_names_a_session_only_as_claude_code_writes_it() {
    let user = |id: &str| key(&serde_json::json!({"metadata": {"user_id": id}}).to_string());
    let json = format!(r#"{{"device_id":"d","account_uuid":"","session_id":"{UUID}"}}"#);
    assert_eq!(user(&json), is(IdKind::UserId, UUID));
    let older = format!("user_0a1b_account__session_{UUID}");
    assert_eq!(user(&older), is(IdKind::UserId, UUID));
    for person in [
        "",
        "jane@example.org",
        "user_0a1b",
        "in_session_today",
        &format!("_session_{UUID}0"),
        &format!("_session_{}", UUID.replace('-', "")),
        r#"{"device_id":"d"}"#,
        r#"{"session_id":""}"#,
        r#"{"session_id":7}"#,
        "[]",
        &format!("[\"{UUID}\"]"),
    ] {
        assert_eq!(user(person), None, "{person}");
    }
    assert_eq!(key(r#"{"metadata":{"user_id":7}}"#), None);
    assert_eq!(key(r#"{"metadata":[]}"#), None);
}

#[test]
fn any_text_is_an_id_if_it_is_not_too_long() {
    let cached =
        |id: &str| key(&serde_json::json!({"prompt_cache_key": id}).to_string()).map(|(_, id)| id);
    assert_eq!(cached("a b,c%é\n").as_deref(), Some("a%20b%2Cc%25%C3%A9%0A"));
    assert_eq!(cached("a%20b").as_deref(), Some("a%2520b"));
    assert!(cached(&"x".repeat(256)).is_some());
    assert_eq!(cached(&"x".repeat(257)), None);
    assert_eq!(cached(&" ".repeat(86)), None, "three bytes each");
}

#[test]
fn what_is_no_such_body_names_nothing() {
    for body in ["", "[]", "null", "{", "{\"prompt_cache_key\":1}", "[\"a\"]"] {
        assert_eq!(key(body), None, "{body}");
    }
    assert_eq!(key(r#"{"conversation":null,"previous_response_id":null}"#), None);
    assert_eq!(key(r#"{"conversation":{"id":7},"messages":[{"conversation":"c"}]}"#), None);
}

#[test]
fn what_goes_on_and_what_is_kept_is_told() {
    let told = |body: &str| {
        let ids = BodyIds::of_body(body.as_bytes());
        (ids.in_conversation, ids.follows, ids.is_kept)
    };
    assert_eq!(told("{}"), (false, false, true));
    assert_eq!(told(r#"{"store":true,"conversation":null}"#), (false, false, true));
    assert_eq!(told(r#"{"store":false}"#), (false, false, false));
    assert_eq!(told(r#"{"previous_response_id":"r"}"#), (false, true, true));
    assert_eq!(told(r#"{"conversation":{"id":"c"}}"#), (true, false, true));
    assert!(!BodyIds::of_body(b"{}").not_kept().is_kept);
    let named = BodyIds::of_body(br#"{"conversation":"c"}"#).not_kept();
    assert_eq!(named.key(&BodyId::ALL).unwrap().session(), "c", "what it names it names still");
}

#[test]
fn debug_shows_no_id() {
    let ids = BodyIds::of_body(br#"{"prompt_cache_key":"secret"}"#);
    assert_eq!(format!("{ids:?}"), "BodyIds { .. }");
}
