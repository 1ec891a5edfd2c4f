use std::time::{Duration, UNIX_EPOCH};

use affinity_layer::state::StateMark;
use affinity_layer::store::fuzzing::{decode, encode};
use affinity_layer::{ModelName, Pin, RouteName, Selection};
use serde_json::Value;

const NAME: &str = "name";
/// The longest value that is read.
const LIMIT: usize = 64 * 1024;
/// What the fields of ours are called.
const FIELDS: [&str; 9] = [
    "model_name",
    "route_name",
    "candidates",
    "warm_up",
    "epoch",
    "unconfirmed",
    "name_hash",
    "claimed_at",
    "foreign",
];

/// Stored values: one that names a model is honoured, whatever program wrote it, as far as it is
/// understood; it can be written and read again. Anything else is not a pin.
pub fn values(data: &[u8]) {
    let read = decode(data, NAME);
    if let Ok(Some((pin, unconfirmed))) = &read {
        let written = encode(pin, NAME, *unconfirmed);
        let again = decode(written.as_bytes(), NAME).expect("our own name");
        assert_eq!(again.as_ref(), Some(&(pin.clone(), *unconfirmed)), "{written}");
        assert!(decode(written.as_bytes(), "other").is_err(), "{written}");
    }
    // The strings of unknown fields are skipped and not read, so they may be no text.
    if std::str::from_utf8(data).is_err() {
        return;
    }
    let Some(fields) = fields(data) else {
        assert!(matches!(read, Ok(None)), "{read:?}");
        return;
    };
    let model = fields[0].as_ref().and_then(Value::as_str).map(ModelName::new);
    let Some(Ok(model)) = model else {
        assert!(matches!(read, Ok(None)), "{read:?}");
        return;
    };
    let hash = fields[6].as_ref().and_then(Value::as_str);
    match read {
        Err(_) => assert!(hash.is_some()),
        Ok(None) => panic!("{model} is a model"),
        Ok(Some((pin, unconfirmed))) => {
            assert_eq!(pin.selection.model(), &model);
            assert_eq!(unconfirmed, fields[5] == Some(Value::Bool(true)));
            assert_eq!(hash.unwrap_or(&own_hash()), own_hash());
            check(&pin, &fields);
        }
    }
}

fn check(pin: &Pin, fields: &[Option<Value>; 9]) {
    let [_, route, candidates, warm_up, epoch, _, _, claimed_at, foreign] = fields;
    let number = |field: &Option<Value>| field.as_ref().and_then(Value::as_u64).unwrap_or(0);
    let route = route.as_ref().and_then(Value::as_str).and_then(|name| RouteName::new(name).ok());
    assert_eq!(pin.selection.route(), route.as_ref());
    assert_eq!(pin.epoch.0, number(epoch));
    assert_eq!(pin.selection.warm_up(), u8::try_from(number(warm_up)).unwrap_or(0));
    let foreign = foreign.as_ref().and_then(Value::as_str).and_then(StateMark::parse);
    assert_eq!(pin.selection.foreign(), foreign);
    let claimed = UNIX_EPOCH.checked_add(Duration::from_millis(number(claimed_at)));
    assert_eq!(pin.claimed_at, claimed.unwrap_or(UNIX_EPOCH));
    let given = candidates.as_ref().and_then(Value::as_array).map(Vec::as_slice);
    let given = given.unwrap_or_default().iter().filter_map(Value::as_str);
    let mut given: Vec<_> = given.filter_map(|name| ModelName::new(name).ok()).collect();
    given.truncate(Selection::MAX_CANDIDATES);
    let kept = pin.selection.candidates();
    assert!(kept.contains(pin.selection.model()));
    assert!(kept.len() <= Selection::MAX_CANDIDATES, "{} candidates", kept.len());
    assert!(kept.ends_with(&given) || kept.len() == Selection::MAX_CANDIDATES);
}

/// Our fields; `None` if this is not an object, is too long, or has one of them twice.
fn fields(data: &[u8]) -> Option<[Option<Value>; 9]> {
    use serde_json::value::RawValue;

    /// Members in their order; values of unknown ones are not read.
    struct Members(Vec<(String, Box<RawValue>)>);

    impl<'de> serde::Deserialize<'de> for Members {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Reader;
            impl<'de> serde::de::Visitor<'de> for Reader {
                type Value = Members;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut entries: A,
                ) -> Result<Members, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = entries.next_entry()? {
                        members.push(member);
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(Reader)
        }
    }

    let Members(members) = serde_json::from_slice(data).ok().filter(|_| data.len() <= LIMIT)?;
    let mut fields: [Option<Value>; 9] = Default::default();
    for (key, value) in members {
        let Some(place) = FIELDS.iter().position(|field| *field == key) else { continue };
        let value = serde_json::from_str(value.get()).ok()?;
        if fields[place].replace(value).is_some() {
            return None;
        }
    }
    Some(fields)
}

/// The hash that is in values under [`NAME`].
fn own_hash() -> String {
    let (pin, _) = decode(br#"{"model_name":"m"}"#, NAME).unwrap().unwrap();
    let written: Value = serde_json::from_str(&encode(&pin, NAME, false)).unwrap();
    written["name_hash"].as_str().unwrap().to_owned()
}
