//! The affinity key: which pin a request belongs to.

mod agents;
mod extract;

use std::fmt;

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::ModelName;

pub use agents::{AGENT_HEADERS, SubAgents};
pub use extract::AFFINITY_HEADERS;
pub(crate) use extract::{KeySource, asks_a_model, single};

/// Longest session id, in bytes.
pub const MAX_SESSION_LEN: usize = 256;
/// Longest scope, in bytes.
pub const MAX_SCOPE_LEN: usize = 128;

/// What would let one part run into the next, or act as a Redis Cluster hash tag.
const KEY_ESCAPES: &AsciiSet = &CONTROLS.add(b'%').add(b':').add(b'{').add(b'}');

/// Why a part of a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPart {
    /// The part has no bytes.
    Empty,
    /// The part is longer than its limit in bytes, which is given.
    TooLong(usize),
    /// The part holds a byte that is not visible ASCII, or a comma.
    BadByte,
    /// The header came twice with different values.
    Conflict,
}

impl fmt::Display for InvalidPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong(limit) => write!(f, "is longer than {limit} bytes"),
            Self::BadByte => f.write_str("may hold visible ASCII only, and no comma"),
            Self::Conflict => f.write_str("was sent twice with different values"),
        }
    }
}

impl std::error::Error for InvalidPart {}

/// Checks a part and shares its bytes: nothing is copied on the way from a request to a key.
fn part(value: &HeaderValue, limit: usize) -> Result<HeaderValue, InvalidPart> {
    let bytes = value.as_bytes();
    if bytes.is_empty() {
        return Err(InvalidPart::Empty);
    }
    if bytes.len() > limit {
        return Err(InvalidPart::TooLong(limit));
    }
    if !bytes.iter().all(|b| b.is_ascii_graphic() && *b != b',') {
        return Err(InvalidPart::BadByte);
    }
    Ok(value.clone())
}

fn text(value: &HeaderValue) -> &str {
    // Checked to be visible ASCII when the part was made, so the default is never taken.
    value.to_str().unwrap_or_default()
}

fn parse(text: &str) -> Result<HeaderValue, InvalidPart> {
    HeaderValue::from_str(text).map_err(|_| InvalidPart::BadByte)
}

/// The tenant that a session belongs to: 1 to [`MAX_SCOPE_LEN`] visible ASCII bytes without comma.
///
/// Put one into the request's extensions to set the scope from an authentication layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(HeaderValue);

impl Scope {
    /// Checks `scope` and makes a scope of it.
    ///
    /// # Errors
    ///
    /// [`InvalidPart`] when it is empty, too long, or not visible ASCII.
    pub fn new(scope: &str) -> Result<Self, InvalidPart> {
        Self::from_header(&parse(scope)?)
    }

    fn from_header(value: &HeaderValue) -> Result<Self, InvalidPart> {
        part(value, MAX_SCOPE_LEN).map(Self)
    }

    /// The scope as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }
}

/// Scope, session id and lane of one agentic loop: the name of a pin.
///
/// A key is checked when it is made, so an invalid one cannot exist. Its `Debug` form shows no id:
/// ids are secrets to whoever may not steer the session.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AffinityKey {
    scope: Option<Scope>,
    session: HeaderValue,
    lane: Option<HeaderValue>,
}

impl AffinityKey {
    /// The key of `session`, without scope and lane.
    ///
    /// # Errors
    ///
    /// [`InvalidPart`] unless `session` is 1 to [`MAX_SESSION_LEN`] visible ASCII bytes without
    /// comma.
    pub fn new(session: &str) -> Result<Self, InvalidPart> {
        Self::from_header(&parse(session)?)
    }

    fn from_header(session: &HeaderValue) -> Result<Self, InvalidPart> {
        let session = part(session, MAX_SESSION_LEN)?;
        Ok(Self { scope: None, session, lane: None })
    }

    /// Sets the tenant; the same session id in two scopes is two sessions.
    #[must_use]
    pub fn with_scope(mut self, scope: Option<Scope>) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the lane, the finer part that keeps a sub-agent apart from its main loop.
    ///
    /// # Errors
    ///
    /// [`InvalidPart`] under the same rules as a session id.
    pub fn with_lane(self, lane: &str) -> Result<Self, InvalidPart> {
        self.with_lane_header(&parse(lane)?)
    }

    fn with_lane_header(mut self, lane: &HeaderValue) -> Result<Self, InvalidPart> {
        self.lane = Some(part(lane, MAX_SESSION_LEN)?);
        Ok(self)
    }

    /// Sets the lane to a model, after that of a sub-agent if there is one.
    fn with_model_lane(mut self, model: &ModelName) -> Self {
        let lane = match self.lane() {
            // The agent's id is bounded and holds no comma, so the two never run together.
            Some(agent) => HeaderValue::try_from(format!("{agent},{model}")).ok(),
            None => Some(model.header_value().clone()),
        };
        self.lane = lane.or(self.lane);
        self
    }

    /// The session id as the client sent it.
    #[must_use]
    pub fn session(&self) -> &str {
        text(&self.session)
    }

    /// The tenant, if there is one.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_ref().map(Scope::as_str)
    }

    /// The lane, if there is one.
    #[must_use]
    pub fn lane(&self) -> Option<&str> {
        self.lane.as_ref().map(text)
    }

    /// The parts as bytes, for hashing: scope, session, lane; an absent part is empty, which no
    /// present one can be.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [
            self.scope.as_ref().map_or(&[], |scope| scope.0.as_bytes()),
            self.session.as_bytes(),
            self.lane.as_ref().map_or(&[], HeaderValue::as_bytes),
        ]
    }

    /// The name under which a shared store keeps the pin: `{prefix}{session}` without scope and
    /// lane, else `{prefix}{scope}:{session}[:{lane}]`. Inside a part `%`, `:`, `{` and `}` are
    /// percent-encoded, so that two different keys never give the same name.
    #[must_use]
    pub fn encode(&self, prefix: &str) -> String {
        let escape = |part| utf8_percent_encode(part, KEY_ESCAPES);
        let session = escape(self.session());
        let scope = escape(self.scope().unwrap_or_default());
        match (&self.scope, self.lane()) {
            (None, None) => format!("{prefix}{session}"),
            (Some(_), None) => format!("{prefix}{scope}:{session}"),
            (_, Some(lane)) => format!("{prefix}{scope}:{session}:{}", escape(lane)),
        }
    }
}

impl fmt::Debug for AffinityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AffinityKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
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
}
