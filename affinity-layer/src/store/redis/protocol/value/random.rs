use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Values of ours, of the older system, and of a version that is still to come.
const VALUES: [&str; 3] = [
    r#"{"model_name":"a/one","route_name":"code","candidates":["a/one","b/two"],"warm_up":2,"epoch":7353127876905156180,"claimed_at":1763648000000}"#,
    r#"{"model_name":"openai/gpt-5.2","route_name":null}"#,
    r#"{"v":2,"model_name":"a/b","candidates":{"first":"a/b"},"epoch":"7","extra":[[1]]}"#,
];

/// A change of one place.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let piece = prop_oneof![
        vec(any::<u8>(), 1..8),
        "[\\[\\]{}\",:0-9eE.+-]{1,24}".prop_map(String::into_bytes),
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), piece).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

fn changed(value: &str, changes: Vec<Change>) -> Vec<u8> {
    let mut value = value.as_bytes().to_vec();
    for change in changes {
        let len = value.len();
        let place = |at: Index| at.index(len + 1);
        match change {
            Change::Byte(at, byte) => {
                if let Some(place) = value.get_mut(at.index(len.max(1))) {
                    *place = byte;
                }
            }
            Change::Cut(at) => value.truncate(place(at)),
            Change::Insert(at, piece) => drop(value.splice(place(at)..place(at), piece)),
            Change::Repeat(from, to) => {
                let (from, to) = (place(from).min(place(to)), place(from).max(place(to)));
                value.extend_from_within(from..to);
            }
        }
    }
    value
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: std::env::var("PROPTEST_CASES").map_or(10_000, |cases| cases.parse().unwrap()),
        ..ProptestConfig::default()
    })]

    /// I22: what is read from a damaged value can be used, kept and read again; the rest is no pin.
    #[test]
    fn a_damaged_value_is_a_pin_or_none(
        which in 0..VALUES.len(),
        changes in vec(change(), 0..6),
    ) {
        let value = changed(VALUES[which], changes);
        let Ok(Some(stored)) = decode(&value, "name") else { return Ok(()) };
        let again = decode(encode(&stored.pin, "name", stored.unconfirmed).as_bytes(), "name").unwrap();
        prop_assert_eq!(again, Some(stored));
    }
}
