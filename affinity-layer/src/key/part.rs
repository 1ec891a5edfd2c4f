//! The parts of a key: what they may contain, and why one is refused.
//!
//! A part is 1 to `limit` bytes of visible ASCII without comma. Visible ASCII fits unchanged into a
//! header, a log line and a Redis key. The comma is left out because HTTP joins the values of a
//! repeated header by one: `a, b` cannot be told from two ids, and it separates what a lane is made of.
//!
//! Parts are kept as `HeaderValue`s, because most of them come as one, and their bytes can be shared.

use std::fmt;

use http::HeaderValue;

/// Why a part of a key was refused.
///
/// Its text completes a sentence and names the rule, never the value: it goes to the client and into
/// logs, and the value is a secret of its tenant.
///
/// ```
/// use affinity_layer::{AffinityKey, key::InvalidPart};
///
/// let error = AffinityKey::new("a,b").unwrap_err();
/// assert_eq!(error, InvalidPart::BadByte);
/// assert_eq!(error.to_string(), "may hold visible ASCII only, and no comma");
/// assert_eq!(AffinityKey::new(&"x".repeat(257)).unwrap_err(), InvalidPart::TooLong(256));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPart {
    /// The part has no bytes.
    Empty,
    /// The part is longer than this limit in bytes.
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
pub(super) fn part(value: &HeaderValue, limit: usize) -> Result<HeaderValue, InvalidPart> {
    let bytes = value.as_bytes();
    if bytes.is_empty() {
        return Err(InvalidPart::Empty);
    }
    if bytes.len() > limit {
        return Err(InvalidPart::TooLong(limit));
    }
    // Not `all`: a check without an early exit is vectorised.
    let good = |b: u8| (b'!'..=b'~').contains(&b) & (b != b',');
    if !bytes.iter().fold(true, |ok, b| ok & good(*b)) {
        return Err(InvalidPart::BadByte);
    }
    Ok(value.clone())
}

/// A copy with bytes of its own, for a key that outlives its request: the shared bytes are a slice of the
/// buffer that the whole head was read into.
#[cfg(feature = "redis")]
pub(super) fn detached(part: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(part.as_bytes()).unwrap_or_else(|_| part.clone())
}

/// The text of a part.
pub(super) fn text(value: &HeaderValue) -> &str {
    // Checked to be visible ASCII when the part was made, so the default is never taken.
    value.to_str().unwrap_or_default()
}

/// A text as a header value. It may still be no part: `part` checks the rest.
pub(super) fn parse(text: &str) -> Result<HeaderValue, InvalidPart> {
    HeaderValue::from_str(text).map_err(|_| InvalidPart::BadByte)
}

/// The tenant that a session belongs to: 1 to [`MAX_LEN`](Self::MAX_LEN) visible ASCII bytes without comma.
///
/// Put one into the request's extensions to set the scope from an authentication layer.
///
/// ```
/// use affinity_layer::Scope;
///
/// // What authentication found out about the caller, and no client can choose.
/// let tenant = Scope::new("acme")?;
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(tenant);
/// # Ok::<(), affinity_layer::key::InvalidPart>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(HeaderValue);

impl Scope {
    /// Longest scope, in bytes.
    pub const MAX_LEN: usize = 128;

    #[cfg(feature = "redis")]
    pub(super) fn detached(&self) -> Self {
        Self(detached(&self.0))
    }

    /// Checks `scope` and makes a scope of it. Two scopes are the same when their bytes are: whoever
    /// names tenants should write them in one way, such as in lower case.
    ///
    /// # Errors
    ///
    /// [`InvalidPart`] when it is empty, too long, or not visible ASCII.
    pub fn new(scope: &str) -> Result<Self, InvalidPart> {
        Self::from_header(&parse(scope)?)
    }

    pub(super) fn from_header(value: &HeaderValue) -> Result<Self, InvalidPart> {
        part(value, Self::MAX_LEN).map(Self)
    }

    /// The scope as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }
}
