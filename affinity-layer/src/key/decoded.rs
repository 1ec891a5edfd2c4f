//! The key that a name was made of.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::part::parse;
use super::{AffinityKey, IdKind, Scope};

impl AffinityKey {
    /// The key that [`encode`](Self::encode) makes `name` of, without a prefix; `None` when there is
    /// none.
    pub(crate) fn decode(name: &str) -> Option<Self> {
        let mut parts = name.splitn(3, ':');
        let (first, second, lane) = (parts.next()?, parts.next(), parts.next());
        let (scope, session) = second.map_or(("", first), |session| (first, session));
        let marked = |kind: &IdKind| Some((*kind, session.strip_prefix(kind.marker())?));
        let marked = IdKind::MARKED.iter().find_map(marked);
        let (kind, id) = marked.unwrap_or((IdKind::Header, session));
        let scope = match scope {
            "" => None,
            scope => Some(Scope::new(&unescape(scope)?).ok()?),
        };
        let key = Self::new(&unescape(id)?).ok()?.of_kind(kind).with_scope(scope);
        let key = match lane {
            Some(lane) => key.of_any_lane(&unescape(lane)?)?,
            None => key,
        };
        // A name that is written otherwise is another name.
        (key.encode("") == name).then_some(key)
    }

    /// Sets the lane to what one may have become: those of agents and models are joined by a comma.
    fn of_any_lane(mut self, lane: &str) -> Option<Self> {
        let whole = lane.split(',').all(|part| parse(part).is_ok_and(|part| !part.is_empty()));
        self.lane = Some(parse(lane).ok().filter(|_| whole)?);
        Some(self)
    }
}

fn unescape(part: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(part).decode_utf8().ok()
}
