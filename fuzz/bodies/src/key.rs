use affinity_layer::{AffinityKey, Scope};

fn is_part(text: &str, limit: usize) -> bool {
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    (1..=limit).contains(&text.len()) && text.bytes().all(visible)
}

fn made(parts: &[&str; 3]) -> Option<AffinityKey> {
    let [scope, session, lane] = *parts;
    let scope = Scope::new(scope);
    assert_eq!(scope.is_ok(), is_part(parts[0], Scope::MAX_LEN), "{scope:?}");
    let key = AffinityKey::new(session);
    assert_eq!(key.is_ok(), is_part(session, AffinityKey::MAX_SESSION_LEN), "{key:?}");
    let key = key.ok()?.with_scope(scope.ok());
    Some(if lane.is_empty() { key } else { key.with_lane(lane).ok()? })
}

/// Keys: what the rule of the contract allows is taken, all else refused, and two that differ in a part
/// are two.
pub fn key(data: &[u8]) {
    let Some((first, second)) = crate::input::<([&str; 3], [&str; 3])>(data) else { return };
    let (Some(one), Some(other)) = (made(&first), made(&second)) else { return };
    let parts = |key: &AffinityKey| {
        let own = |text: Option<&str>| text.map(str::to_owned);
        (own(key.scope()), key.session().to_owned(), own(key.lane()))
    };
    assert_eq!(one == other, parts(&one) == parts(&other));
    // What is shown of a key is not the key.
    let shown = format!("{one:?}");
    assert!(first[1].len() < 12 || !shown.contains(first[1]), "{shown}");
}
