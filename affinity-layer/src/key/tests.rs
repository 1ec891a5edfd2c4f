use proptest::prelude::*;
use proptest::sample::select;

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
fn keys_that_no_request_names_are_drawn_from_128_bits() {
    let [a, b] = [AffinityKey::begun(), AffinityKey::begun()];
    let halves = |key: &AffinityKey| {
        let (high, low) = key.session().split_at(16);
        (high.to_owned(), low.to_owned())
    };
    let ((a_high, a_low), (b_high, b_low)) = (halves(&a), halves(&b));
    assert_eq!((a_low.len(), b_low.len()), (16, 16));
    // That two halves are the same by chance is one in 2^64.
    assert!(a_high != b_high && a_low != b_low, "{a_high} {b_high} {a_low} {b_low}");
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

const KINDS: [IdKind; 8] = [
    IdKind::Header,
    IdKind::PromptCacheKey,
    IdKind::Conversation,
    IdKind::UserId,
    IdKind::Begun,
    IdKind::Fingerprint,
    IdKind::Response,
    IdKind::Held,
];

/// Few letters, so that keys often nearly meet, and the forms that names are made of.
fn hostile() -> impl Strategy<Value = String> {
    let letters = "[a%:={}]{1,4}";
    let kinds = select(KINDS.map(IdKind::marker).to_vec());
    prop_oneof![
        letters,
        (kinds, letters).prop_map(|(marker, id)| format!("{marker}{id}")),
        (letters, letters).prop_map(|(one, other)| format!("{one}:{other}")),
    ]
}

fn key_of(kinds: &'static [IdKind]) -> impl Strategy<Value = AffinityKey> {
    let scope = prop::option::of(hostile());
    let lane = prop::option::of(hostile());
    let parts = (select(kinds), scope, hostile(), lane, any::<bool>());
    parts.prop_map(|(kind, scope, session, lane, is_observed)| {
        let key = key(scope.as_deref(), &session, lane.as_deref()).with_kind(kind);
        if is_observed { key.observed() } else { key }
    })
}

/// The pieces of a text between some of its colons, as a key: scope, session and lane.
fn split(text: &str, cuts: u8, reads_kind: bool) -> Option<AffinityKey> {
    let mut parts = vec![String::new()];
    for (n, piece) in text.split(':').enumerate() {
        match parts.last_mut() {
            Some(last) if n > 0 && cuts >> (n - 1) & 1 == 0 => *last += &format!(":{piece}"),
            Some(last) if n == 0 => piece.clone_into(last),
            _ => parts.push(piece.to_owned()),
        }
    }
    let (scope, session, lane) = match &parts[..] {
        [session] => (None, session, None),
        [scope, session] => (Some(scope), session, None),
        [scope, session, lane] => (Some(scope), session, Some(lane)),
        _ => return None,
    };
    let observed = session.strip_prefix(OBSERVED).filter(|_| reads_kind);
    let (session, is_observed) = observed.map_or((&session[..], false), |session| (session, true));
    let of_kind = |kind: IdKind| Some((kind, session.strip_prefix(kind.marker())?));
    let kind = KINDS[1..].iter().filter(|_| reads_kind).find_map(|kind| of_kind(*kind));
    let (kind, session) = kind.unwrap_or((IdKind::Header, session));
    let scope = scope.and_then(|scope| Scope::new(scope).ok());
    let key = AffinityKey::new(session).ok()?.with_scope(scope).with_kind(kind);
    let key = if is_observed { key.observed() } else { key };
    lane.map_or(Some(key.clone()), |lane| key.with_lane(lane).ok())
}

/// Two keys that are the same text to whoever only joins the parts.
fn keys_of_one_text() -> impl Strategy<Value = (AffinityKey, AffinityKey)> {
    let markers = KINDS[1..].iter().map(|kind| kind.marker());
    let tokens: Vec<_> =
        ["a", "a", ":", ":", ":", "%3A", "%", "%25", OBSERVED].into_iter().chain(markers).collect();
    let text = prop::collection::vec(select(tokens), 2..8).prop_map(|tokens| tokens.concat());
    let cuts = (any::<[u8; 2]>(), any::<[bool; 2]>());
    (text, cuts).prop_filter_map("no two keys", |(text, (cuts, reads))| {
        Some((split(&text, cuts[0], reads[0])?, split(&text, cuts[1], reads[1])?))
    })
}

/// `PROPTEST_CASES` makes it more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(4000), failure_persistence: None, ..default }
}

/// The parts of a key without kind, read back out of its name.
fn parts_of(name: &str) -> (Option<String>, String, Option<String>) {
    let read = |part: &str| percent_decode_str(part).decode_utf8().unwrap().into();
    let parts: Vec<String> = name.split(':').map(read).collect();
    match <[String; 3]>::try_from(parts) {
        Ok([scope, session, lane]) => ((!scope.is_empty()).then_some(scope), session, Some(lane)),
        Err(parts) => match <[String; 2]>::try_from(parts) {
            Ok([scope, session]) => (Some(scope), session, None),
            Err(parts) => (None, parts.into_iter().next().unwrap(), None),
        },
    }
}

/// Bytes of a header field: any that HTTP lets through, and most often those of an id.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let id = prop::collection::vec(0x21..0x7f_u8, 0..300);
    let any = prop::collection::vec(any::<u8>(), 0..12);
    let near = (hostile(), select(vec!["", " ", "\t", ",", "\u{80}", "\u{e9}"]))
        .prop_map(|(id, odd)| format!("{id}{odd}").into_bytes());
    prop_oneof![id, any, near]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_field_is_an_id_exactly_if_it_is_visible_ascii_without_comma(bytes in field()) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let visible = bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',');
        let valid = visible && (1..=AffinityKey::MAX_SESSION_LEN).contains(&bytes.len());
        let key = AffinityKey::from_header(&value);
        prop_assert_eq!(key.is_ok(), valid);
        if let Ok(key) = key {
            prop_assert_eq!(key.session().as_bytes(), &bytes);
        }
    }

    #[test]
    fn a_name_can_be_read_back(
        scope in prop::option::of(hostile()),
        session in hostile(),
        lane in prop::option::of(hostile()),
    ) {
        let name = key(scope.as_deref(), &session, lane.as_deref()).encode("");
        prop_assert!(!name.contains(['{', '}']), "no hash tag of a cluster: {}", name);
        prop_assert_eq!(parts_of(&name), (scope, session, lane), "{}", name);
    }

    #[test]
    fn a_key_is_made_again_of_its_text_and_of_its_parts(key in key_of(&KINDS)) {
        let text = key.encode("");
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{}", text);
        prop_assert_eq!(AffinityKey::decode(&text), Some(key.clone()), "{}", text);
        let scope = key.scope().map(|scope| Scope::new(scope).unwrap());
        let made = AffinityKey::from_parts(key.kind(), scope, key.session(), key.lane());
        let made = made.map(|made| if key.is_observed() { made.observed() } else { made });
        prop_assert_eq!(made, Ok(key));
    }

    #[test]
    fn keys_that_differ_never_meet((one, other) in keys_of_one_text()) {
        let equal = one == other;
        prop_assert_eq!(one.encode("") == other.encode(""), equal);
        prop_assert_eq!(one.encode("p:") == other.encode("p:"), equal);
        prop_assert_eq!(one.parts() == other.parts(), equal);
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
fn the_longest_key_has_room_in_a_column() {
    let percents = "%".repeat(AffinityKey::MAX_SESSION_LEN);
    let scope = Scope::new(&"%".repeat(Scope::MAX_LEN)).unwrap();
    let agent = HeaderValue::from_str(&percents).unwrap();
    let named = AffinityKey::new(&percents).unwrap().with_scope(Some(scope));
    let agents = named.clone().with_lane_header(&agent).unwrap().with_thread(&agent).unwrap();
    let model = ModelName::new(&"%".repeat(ModelName::MAX_LEN)).unwrap();
    for key in [agents.with_model_lane(&model), named.with_model_lane(&model)] {
        for kind in KINDS {
            let text = key.clone().with_kind(kind).encode("");
            assert!(text.len() <= AffinityKey::MAX_ENCODED_LEN, "{}", text.len());
            assert!(AffinityKey::decode(&text).is_some());
        }
    }
    let lane = "l".repeat(2000);
    assert!(AffinityKey::from_parts(IdKind::Header, None, "s", Some(&lane)).is_err());
}

#[test]
fn a_key_of_another_kind_shows_it_in_its_name() {
    let cached = key(Some("acme"), "s1", None).with_kind(IdKind::PromptCacheKey);
    assert_eq!(cached.encode("p:"), "p:acme:%prompt_cache_key=s1");
    let begun = AffinityKey::begun();
    assert_eq!(begun.encode("p:"), format!("p:%begun={}", begun.session()));
    assert_eq!(begun.session().len(), 32);
    assert_ne!(begun, AffinityKey::begun());
    let observed = cached.observed();
    assert_eq!(observed.encode("p:"), "p:acme:%observed=%prompt_cache_key=s1");
    let laned = key(None, "s1", Some("gpt")).with_kind(IdKind::UserId);
    assert_eq!(laned.encode(""), ":%user_id=s1:gpt");
}

#[test]
fn a_name_is_read_back_as_the_key_that_it_was_made_of() {
    let parts = ["a", "a:b", "%3A", "a%3Ab", "{", "::", "%begun=1", "a/b"];
    for scope in std::iter::once(None).chain(parts.map(Some)) {
        for session in parts {
            for lane in std::iter::once(None).chain(parts.map(Some)) {
                for kind in KINDS {
                    let key = key(scope, session, lane).with_kind(kind);
                    let observed = key.clone().observed();
                    assert_ne!(observed.encode(""), key.encode(""));
                    for key in [key, observed] {
                        assert_eq!(AffinityKey::decode(&key.encode("")), Some(key));
                    }
                }
            }
        }
    }
    let agent = key(None, "s", Some("agent")).with_model_lane(&ModelName::new("a/b").unwrap());
    assert_eq!(AffinityKey::decode(&agent.encode("")), Some(agent));
    for none in ["", ":", ":a", "a:", "a::b", "%3a", "a b", "a:b:c:d", "%7bx", "%2", "a:b:,"] {
        assert_eq!(AffinityKey::decode(none), None, "{none}");
    }
}
