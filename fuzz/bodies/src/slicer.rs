use affinity_layer::body::{BodyError, JsonBody};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde_json::Value;
use serde_json::value::RawValue;

/// Bodies: taken if and only if serde_json takes them as an object, and sent on with no other change
/// than the model's.
pub fn slicer(data: &[u8]) {
    let whole: Result<Value, _> = serde_json::from_slice(data);
    let envelope = match JsonBody::parse(Bytes::copy_from_slice(data)) {
        Ok(envelope) => envelope,
        Err(BodyError::Disguised(name)) => {
            let Ok(Value::Object(members)) = whole else { return };
            assert!(members.keys().any(|key| reads_as(key, name)), "nothing reads as {name}");
            return;
        }
        // JSON that we refuse by choice. In what is refused, unreadable numbers such as 1e999 are not
        // looked for.
        Err(BodyError::Duplicate(_) | BodyError::Value(_)) => {
            let text: &RawValue = serde_json::from_slice(data).expect("JSON");
            assert!(text.get().starts_with('{'));
            return;
        }
        Err(error) => {
            assert!(!matches!(whole, Ok(Value::Object(_))), "{error:?}");
            return;
        }
    };
    let Ok(Value::Object(mut expected)) = whole else { panic!("this is no object") };
    for name in ["model", "stream", "messages", "input", "max_tokens", "routing_preferences"] {
        let like = expected.keys().find(|key| *key != name && reads_as(key, name));
        assert_eq!(like, None, "taken for {name} by others");
    }
    let model = expected.get("model").and_then(Value::as_str).filter(|model| !model.is_empty());
    assert_eq!(envelope.model().as_deref(), model);
    if expected.contains_key("model") {
        expected.insert("model".into(), "an\"other".into());
    }
    expected.remove("routing_preferences");
    let sent = envelope.for_model("an\"other").collect().now_or_never().unwrap();
    let sent: Value = serde_json::from_slice(&sent.unwrap().to_bytes()).expect("still JSON");
    assert_eq!(sent, Value::Object(expected));
}

/// Whether a reader that ignores case, or ends a key at a NUL, takes `key` for `name`.
fn reads_as(key: &str, name: &str) -> bool {
    // None of our names has a letter that full case mapping, unlike the simple one, leads to.
    let key = key.split('\0').next().unwrap_or_default();
    !key.contains(['\u{130}', '\u{131}']) && key.to_uppercase().to_lowercase() == name
}
