//! A key as the name under which a shared store keeps its pin.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::AffinityKey;

/// What would let one part run into the next, or act as a Redis Cluster hash tag.
const KEY_ESCAPES: &AsciiSet = &CONTROLS.add(b'%').add(b':').add(b'{').add(b'}');

impl AffinityKey {
    /// The name under which a shared store keeps the pin: `{prefix}{session}` without scope and
    /// lane, else `{prefix}{scope}:{session}[:{lane}]`. Inside a part `%`, `:`, `{` and `}` are
    /// percent-encoded, so that two different keys never give the same name. Before a session id that
    /// did not come from a header stands its kind, as in `%prompt_cache_key=my-task`.
    #[must_use]
    pub fn encode(&self, prefix: &str) -> String {
        let mut name = prefix.to_owned();
        self.encode_into(&mut |piece| name.push_str(piece));
        name
    }

    /// What comes after the prefix, piece by piece.
    pub(crate) fn encode_into(&self, out: &mut impl FnMut(&str)) {
        let (scope, lane) = (self.scope(), self.lane());
        if scope.is_some() || lane.is_some() {
            escape(scope.unwrap_or_default(), out);
            out(":");
        }
        out(self.kind.marker());
        escape(self.session(), out);
        if let Some(lane) = lane {
            out(":");
            escape(lane, out);
        }
    }
}

fn escape(part: &str, out: &mut impl FnMut(&str)) {
    // A part is visible ASCII, so these are all that may have to be escaped. Most have none.
    let is_escaped = |b: u8| (b == b'%') | (b == b':') | (b == b'{') | (b == b'}');
    if part.bytes().fold(false, |any, b| any | is_escaped(b)) {
        utf8_percent_encode(part, KEY_ESCAPES).for_each(out);
    } else {
        out(part);
    }
}
