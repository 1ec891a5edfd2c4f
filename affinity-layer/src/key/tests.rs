use proptest::prelude::*;

use super::*;

fn key(scope: Option<&str>, session: &str, lane: Option<&str>) -> AffinityKey {
    let scope = scope.map(|scope| Scope::new(scope).unwrap());
    let key = AffinityKey::new(session).unwrap().with_scope(scope);
    match lane {
        Some(lane) => key.with_lane(lane).unwrap(),
        None => key,
    }
}

#[test]
fn a_session_id_is_bounded_visible_ascii_without_comma() {
    assert!(AffinityKey::new(&"x".repeat(256)).is_ok());
    assert_eq!(AffinityKey::new("").unwrap_err(), InvalidPart::Empty);
    assert_eq!(AffinityKey::new(&"x".repeat(257)).unwrap_err(), InvalidPart::TooLong(256));
    for bad in ["a,b", "a b", "a\tb", "é", "\u{7f}"] {
        assert_eq!(AffinityKey::new(bad).unwrap_err(), InvalidPart::BadByte, "{bad:?}");
    }
    for opaque in ["implicit:0123", "../x", "*", "{a}", "%00", "$(x)", "'OR1=1"] {
        assert_eq!(AffinityKey::new(opaque).unwrap().session(), opaque);
    }
}

#[test]
fn encoded_keys_show_the_parts_and_never_meet() {
    assert_eq!(key(None, "s1", None).encode("plano:affinity:"), "plano:affinity:s1");
    assert_eq!(key(Some("acme"), "s1", None).encode("p:"), "p:acme:s1");
    assert_eq!(key(Some("acme"), "s1", Some("gpt")).encode(""), "acme:s1:gpt");
    assert_eq!(key(None, "s1", Some("gpt")).encode(""), ":s1:gpt");
    assert_eq!(key(None, "{a}%:", None).encode(""), "%7Ba%7D%25%3A");

    let parts = ["a", "b", "a:b", ":", "%3A", "a%3Ab", "{", "::"];
    let mut seen = std::collections::HashMap::new();
    for scope in std::iter::once(None).chain(parts.map(Some)) {
        for session in parts {
            for lane in std::iter::once(None).chain(parts.map(Some)) {
                let triple = (scope, session, lane);
                let other = seen.insert(key(scope, session, lane).encode("p:"), triple);
                assert_eq!(other, None, "{triple:?}");
            }
        }
    }
}

#[test]
fn debug_shows_no_id() {
    let shown = format!("{:?}", key(Some("tenant"), "secret", Some("lane")));
    assert_eq!(shown, "AffinityKey { .. }");
}

const KINDS: [IdKind; 7] = [
    IdKind::Header,
    IdKind::PromptCacheKey,
    IdKind::Conversation,
    IdKind::UserId,
    IdKind::Begun,
    IdKind::Fingerprint,
    IdKind::Response,
];

/// Few letters, so that keys often nearly meet, and the forms that names are made of.
fn hostile() -> impl Strategy<Value = String> {
    let letters = "[a%:={}]{1,4}";
    let kinds = prop::sample::select(KINDS.map(IdKind::marker).to_vec());
    prop_oneof![
        letters,
        (kinds, letters).prop_map(|(marker, id)| format!("{marker}{id}")),
        (letters, letters).prop_map(|(one, other)| format!("{one}:{other}")),
    ]
}

fn key_of(kinds: &'static [IdKind]) -> impl Strategy<Value = AffinityKey> {
    let scope = prop::option::of(hostile());
    let lane = prop::option::of(hostile());
    (prop::sample::select(kinds), scope, hostile(), lane).prop_map(
        |(kind, scope, session, lane)| {
            key(scope.as_deref(), &session, lane.as_deref()).of_kind(kind)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn keys_that_differ_never_meet(one in key_of(&KINDS), other in key_of(&KINDS)) {
        prop_assume!(one != other);
        prop_assert_ne!(one.encode(""), other.encode(""));
        prop_assert_ne!(one.encode("p:"), other.encode("p:"));
        prop_assert_ne!(one.parts(), other.parts());
    }

    #[test]
    fn no_header_forges_another_kind(
        other in key_of(&KINDS[1..]),
        scope in prop::option::of(hostile()),
        lane in prop::option::of(hostile()),
    ) {
        for forged in [other.encode(""), other.name(), format!(":{}", other.name())] {
            let forged = key(scope.as_deref(), &forged, lane.as_deref());
            prop_assert_ne!(forged.encode(""), other.encode(""));
            prop_assert_ne!(forged.parts(), other.parts());
            prop_assert_ne!(&forged, &other);
        }
    }
}

#[test]
fn a_key_of_another_kind_shows_it_in_its_name() {
    let cached = key(Some("acme"), "s1", None).of_kind(IdKind::PromptCacheKey);
    assert_eq!(cached.encode("p:"), "p:acme:%prompt_cache_key=s1");
    let begun = AffinityKey::begun();
    assert_eq!(begun.encode("p:"), format!("p:%begun={}", begun.session()));
    assert_eq!(begun.session().len(), 32);
    assert_ne!(begun, AffinityKey::begun());
    let laned = key(None, "s1", Some("gpt")).of_kind(IdKind::UserId);
    assert_eq!(laned.encode(""), ":%user_id=s1:gpt");
}
