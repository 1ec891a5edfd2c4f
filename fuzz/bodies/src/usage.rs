use affinity_layer::answer::{AnswerReader, Usage};
use serde_json::Value;

fn read<'a>(kind: &str, pieces: impl Iterator<Item = &'a [u8]>) -> Usage {
    let mut reader = AnswerReader::new(kind).unwrap();
    for piece in pieces {
        reader.feed(piece);
    }
    reader.usage()
}

/// Answers: what is read of them does not depend on how they are cut, and for a plain answer is what its
/// JSON says. The release of pins uses the same reader.
pub fn usage(data: &[u8]) {
    let Some((cut, data)) = crate::input::<(u8, &[u8])>(data) else { return };
    for kind in ["application/json", "text/event-stream"] {
        // The end is taken as soon as it is there, so what goes on after `[DONE]` depends on the cut.
        if kind == "text/event-stream" && crate::goes_on_after_done(data) {
            continue;
        }
        let whole = read(kind, std::iter::once(data));
        assert_eq!(read(kind, data.chunks(usize::from(cut).max(1))), whole, "{kind}");
        assert_eq!(read(kind, data.chunks(1)), whole, "{kind}");
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(data) else { return };
    // A key that occurs twice is the provider's mistake, and which one counts is open.
    if data.windows(7).filter(|seven| *seven == b"\"usage\"").count() > 1 || data.contains(&b'\\') {
        return;
    }
    let told = members.get("usage").and_then(|usage| usage.get("completion_tokens"));
    if let (Some(tokens), 1) = (
        told.and_then(Value::as_u64),
        data.windows(19).filter(|key| *key == b"\"completion_tokens\"").count(),
    ) {
        let read = read("application/json", std::iter::once(data)).output_tokens;
        assert!(read.is_some_and(|read| read >= tokens), "{read:?} and not {tokens}");
    }
}
