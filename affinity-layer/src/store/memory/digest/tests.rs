use std::collections::HashSet;

use super::*;
use crate::Scope;

fn key(scope: &str, session: &str, lane: &str) -> AffinityKey {
    let key = AffinityKey::new(session).unwrap().with_scope(Scope::new(scope).ok());
    if lane.is_empty() { key } else { key.with_lane(lane).unwrap() }
}

#[test]
fn parts_that_run_together_are_told_apart() {
    let digester = Digester::default();
    let keys = [
        key("", "abc", ""),
        key("a", "bc", ""),
        key("ab", "c", ""),
        key("", "a", "bc"),
        key("", "ab", "c"),
        key("a", "b", "c"),
    ];
    let halves: HashSet<_> = keys.iter().map(|key| digester.digest_key(key).0).collect();
    assert_eq!(halves.len(), keys.len());
    assert!(keys.iter().all(|key| digester.digest_key(key) == digester.digest_key(key)));
    assert_ne!(digester.digest_key(&keys[0]), Digester::default().digest_key(&keys[0]));
}

#[test]
fn the_keys_of_a_tenant_share_its_number_and_nothing_else() {
    let digester = Digester::default();
    let digests = |scope: &str| -> Vec<_> {
        (0..1000).map(|n| digester.digest_key(&key(scope, &format!("s{n}"), ""))).collect()
    };
    let tenants = |digests: &[Digest]| -> HashSet<_> {
        digests.iter().map(|digest| digest.tenant()).collect()
    };
    let (none, one) = (digests(""), digests("tenant"));
    assert_eq!(tenants(&none), [0].into());
    assert_eq!(tenants(&one).len(), 1);
    let many: Vec<_> = (0..100).flat_map(|n| digests(&format!("t{n}"))).collect();
    assert!(many.iter().all(|digest| digest.tenant() < Digest::TENANTS));
    assert!(tenants(&many).len() > 90, "they seldom meet");
    assert!(tenants(&many).iter().any(|tenant| *tenant > Digest::TENANTS / 2));
    for digests in [none, one] {
        let halves: HashSet<_> = digests.iter().map(|digest| digest.1.get() >> 17).collect();
        assert_eq!(halves.len(), 1000, "the rest of the second half is its own");
        for parts in [1, 2, 16, 17] {
            let met: HashSet<_> = digests.iter().map(|digest| digest.part(parts)).collect();
            assert_eq!(met.len(), parts, "a tenant is spread over all parts");
            assert_eq!(met.into_iter().max(), Some(parts - 1));
        }
        assert!(digests.iter().all(|digest| digest.1.get() & 1 == 1));
    }
}

#[test]
fn a_digest_has_one_text() {
    let digest = Digester::default().digest(|hash| hash(b"name"));
    let text = digest.to_string();
    assert_eq!(Digest::parse(&text), Some(digest));
    let whole = "0123456789abcdef0123456789abcdef";
    assert_eq!(Digest::parse(whole).unwrap().to_string(), whole);
    for other in [
        "",
        "0123456789abcdef",
        "0123456789abcdef0123456789abcde",
        "0123456789abcdef0123456789abcdef0",
        "0123456789ABCDEF0123456789abcdef",
        "0123456789abcdef+123456789abcdef",
        "0123456789abcdef0123456789abcdeg",
        "0123456789abcdef0000000000000000",
        "0123456789abcde\u{e9}0123456789abcde",
    ] {
        assert_eq!(Digest::parse(other), None, "{other}");
    }
}

#[test]
fn a_digest_is_hashed_to_its_first_half() {
    let digest = Digester::default().digest(|hash| hash(b"name"));
    assert_eq!(IdentityState.hash_one(digest), digest.0);
    assert_eq!(format!("{:?}", Digester::default()), "Digester { .. }");
}
