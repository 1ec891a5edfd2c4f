//! The affinity key: which pin a request belongs to.
//!
//! A key has four parts. Two requests share a pin exactly if all four are equal:
//!
//! | part | says | comes from |
//! |---|---|---|
//! | [kind](IdKind) | where the session id was found | the source that named the session |
//! | [scope](Scope) | whose session it is | authentication, or the tenant header |
//! | session | which loop or conversation | a header, the body, or a number that we drew |
//! | lane | which part of that loop | the id of a sub-agent, the requested model |
//!
//! # Rules
//!
//! 1. **A key is checked when it is made.** Every part is visible ASCII without comma and bounded, so no
//!    later step, be it a log line, a Redis command or a hash, has to check it again.
//! 2. **Two different keys never give the same name.** In [`encode`](AffinityKey::encode) `:` separates,
//!    and what would separate inside a part is percent-encoded. Without that, the tenant `a` with the
//!    session `b:c` would read the pin of the tenant `a:b` with the session `c`.
//! 3. **A source cannot forge another.** A name marks the kind of its id by a text that begins with `%`,
//!    which no encoded id can begin with in that way.
//! 4. **Keys are not shown.** Whoever knows an id can use, move and end its session, so `Debug` prints
//!    none, and no log line or metric holds one.
//! 5. **Nothing is copied on the way of a hit.** Parts share the bytes of the request's headers; a key
//!    that is kept for longer is given bytes of its own.
//!
//! `{` and `}` are encoded for Redis Cluster, which takes the text between them for the part of a key
//! that chooses the node: a client could otherwise send all of its sessions to one of them.
//!
//! # Where a key is found
//!
//! `extract.rs` reads headers and extensions, in one pass that `seen.rs` makes; `baggage.rs` reads W3C
//! baggage. For a request that these do not name, `extract.rs` asks `body.rs` for an id in the body, then
//! `transcript.rs` for what was said. The [crate docs](crate#what-names-a-session) have the order.

mod baggage;
mod body;
mod extract;
#[cfg(feature = "fingerprint")]
mod fingerprint;
mod kind;
mod notes;
mod part;
mod print;
mod seen;
mod transcript;

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use self::part::{parse, part, text};
use crate::ModelName;

pub use body::{BodyId, BodyIds};
pub(crate) use extract::{KeySource, Told, asks_a_model, single};
#[cfg(feature = "fingerprint")]
pub use fingerprint::Fingerprint;
pub use kind::IdKind;
pub(crate) use kind::OBSERVED;
pub(crate) use notes::AnswerNotes;
pub use part::{InvalidPart, Scope};
pub(crate) use print::{Print, PrintKey};
pub(crate) use seen::Seen;
pub(crate) use transcript::Transcript;

/// What would let one part run into the next, or act as a Redis Cluster hash tag.
const KEY_ESCAPES: &AsciiSet = &CONTROLS.add(b'%').add(b':').add(b'{').add(b'}');

/// Scope, session id and lane of one agentic loop: the name of a pin.
///
/// A key is checked when it is made, so an invalid one cannot exist. Its `Debug` form shows no id,
/// because anyone who knows an id can steer its session.
///
/// The layer makes the keys of requests. Make one yourself to look at a store from outside: in an admin
/// command, or in a test of a store of your own.
///
/// ```
/// use affinity_layer::{AffinityKey, Scope};
///
/// let task = AffinityKey::new("task-1")?;
/// let scoped = task.clone().with_scope(Some(Scope::new("acme")?));
/// assert_ne!(task, scoped, "the same id in two scopes is two sessions");
/// let reviewer = scoped.clone().with_lane("reviewer")?;
/// assert_ne!(scoped, reviewer, "a lane has a pin of its own");
/// assert_eq!(reviewer.encode(""), "acme:task-1:reviewer");
///
/// assert!(AffinityKey::new("two words").is_err());
/// assert_eq!(format!("{task:?}"), "AffinityKey { .. }");
/// # Ok::<(), affinity_layer::key::InvalidPart>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AffinityKey {
    kind: IdKind,
    scope: Option<Scope>,
    session: HeaderValue,
    lane: Option<HeaderValue>,
    /// Whether it is the key of an observed claim.
    observed: bool,
}

impl AffinityKey {
    /// Longest session id, and longest lane that is set by hand, in bytes.
    pub const MAX_SESSION_LEN: usize = 256;

    /// No key is longer as text, however much of it has to be encoded: a scope, a session id with its kind,
    /// and a lane of a sub-agent, its thread and a model.
    pub const MAX_ENCODED_LEN: usize = 4096;

    /// Longest lane that the layer makes: a sub-agent, its thread and a model, whose every byte may have been
    /// escaped for a header.
    const MAX_JOINED_LANE_LEN: usize = 2 * Self::MAX_SESSION_LEN + 3 * ModelName::MAX_LEN + 2;

    /// The same key with bytes of its own. Parts share the buffer that the request was read into, and
    /// would keep all of it alive.
    #[cfg(feature = "redis")]
    pub(crate) fn detached(&self) -> Self {
        Self {
            kind: self.kind,
            scope: self.scope.as_ref().map(Scope::detached),
            session: part::detached(&self.session),
            lane: self.lane.as_ref().map(part::detached),
            observed: self.observed,
        }
    }

    /// The key of `session` as a header names it, without scope and lane.
    ///
    /// # Errors
    ///
    /// [`InvalidPart`] unless `session` is 1 to [`MAX_SESSION_LEN`](Self::MAX_SESSION_LEN) visible ASCII bytes without
    /// comma.
    pub fn new(session: &str) -> Result<Self, InvalidPart> {
        Self::from_header(&parse(session)?)
    }

    /// The key of an id that is a header value already; its bytes are shared.
    fn from_header(session: &HeaderValue) -> Result<Self, InvalidPart> {
        let session = part(session, Self::MAX_SESSION_LEN)?;
        Ok(Self { kind: IdKind::Header, scope: None, session, lane: None, observed: false })
    }

    /// The key of its parts, as a store may keep them apart: the inverse of [`kind`](Self::kind),
    /// [`scope`](Self::scope), [`session`](Self::session) and [`lane`](Self::lane). A key that
    /// [`is_observed`](Self::is_observed) is made with [`observed`](Self::observed) on top.
    ///
    /// ```
    /// use affinity_layer::{AffinityKey, Scope};
    ///
    /// // A sub-agent's lane and that of a model are joined by a comma.
    /// let key = AffinityKey::decode("acme:%session_id=task-1:reviewer,openai/gpt-4o").expect("a name");
    /// let scope = key.scope().map(Scope::new).transpose()?;
    /// assert_eq!(AffinityKey::from_parts(key.kind(), scope, key.session(), key.lane())?, key);
    /// # Ok::<(), affinity_layer::key::InvalidPart>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidPart`] for a session id or a lane that no key has.
    pub fn from_parts(
        kind: IdKind,
        scope: Option<Scope>,
        session: &str,
        lane: Option<&str>,
    ) -> Result<Self, InvalidPart> {
        let key = Self::new(session)?.with_kind(kind).with_scope(scope);
        match lane {
            Some(lane) => key.of_any_lane(lane),
            None => Ok(key),
        }
    }

    /// The same id as one of another kind: another key.
    #[must_use]
    pub fn with_kind(self, kind: IdKind) -> Self {
        Self { kind, ..self }
    }

    /// The key under which the session is observed: another one, which no request can name.
    #[must_use]
    pub fn observed(self) -> Self {
        Self { observed: true, ..self }
    }

    /// Whether this is the key of an observed claim and not that of a pin; see [`mode`](crate::mode).
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.observed
    }

    /// What the session id is preceded by in the name.
    fn marker(&self) -> &'static str {
        if self.observed { self.kind.observed_marker() } else { self.kind.marker() }
    }

    /// A key that no request names: that of a conversation which begins without an id. It has 128 random
    /// bits, because whoever could guess it could steer the conversation.
    pub(crate) fn begun() -> Self {
        Self::ours(IdKind::Begun, random())
    }

    /// The same for a conversation that is found by what was said in it.
    pub(crate) fn drawn() -> Self {
        Self::ours(IdKind::Fingerprint, random())
    }

    /// The key under a number that we drew, as 32 hexadecimal digits.
    fn ours(kind: IdKind, id: u128) -> Self {
        // Digits are a valid part.
        let session = HeaderValue::try_from(format!("{id:032x}"));
        let session = session.unwrap_or_else(|_| HeaderValue::from_static("0"));
        Self { kind, scope: None, session, lane: None, observed: false }
    }

    /// The key under which the link of a response is stored; `None` for an id that cannot be a key. The id
    /// is the provider's, so it is encoded as one from a body is.
    pub(crate) fn of_response(id: &str) -> Option<Self> {
        let session = body::session(id)?;
        Some(Self { kind: IdKind::Response, scope: None, session, lane: None, observed: false })
    }

    /// The key of the note that names the holder of the object `id`; `None` for an id that cannot be a key.
    /// That id also comes from a provider.
    pub(crate) fn of_held(id: &str) -> Option<Self> {
        Some(Self::of_response(id)?.with_kind(IdKind::Held))
    }

    /// How a note spells the model whose provider holds an object: as no model of a pin is called.
    pub(crate) fn holder_name(model: &ModelName) -> Option<ModelName> {
        ModelName::new(&format!("{}{model}", IdKind::Held.marker())).ok()
    }

    /// The model that a note spells; `None` for what is no note.
    pub(crate) fn of_holder_name(name: &ModelName) -> Option<ModelName> {
        ModelName::new(name.as_str().strip_prefix(IdKind::Held.marker())?).ok()
    }

    /// Kind and id as text, for a link.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.kind.marker(), self.session())
    }

    /// The key that a link names; `None` if links are never made to such a key. That is checked because a
    /// link is read from a store that others can write to: it must not lead to a session that a client
    /// names itself.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [IdKind::Begun, IdKind::Fingerprint].into_iter().find_map(|kind| {
            let session = name.strip_prefix(kind.marker())?;
            Some(Self::new(session).ok()?.with_kind(kind))
        })
    }

    /// Sets the tenant to that of another key: a link leads to a session of the tenant that asks.
    pub(crate) fn with_scope_of(self, other: &Self) -> Self {
        self.with_scope(other.scope.clone())
    }

    /// Sets tenant and lane to those of another key: what was said to one model leads to its session.
    pub(crate) fn beside(self, other: &Self) -> Self {
        Self { scope: other.scope.clone(), lane: other.lane.clone(), ..self }
    }

    /// Sets the tenant; the same session id in two scopes is two sessions.
    #[must_use]
    pub fn with_scope(mut self, scope: Option<Scope>) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the lane, the finer part that keeps a sub-agent apart from its main loop.
    ///
    /// The layer itself makes lanes of a sub-agent's id, its thread and the requested model, joined by
    /// commas.
    ///
    /// # Errors
    ///
    /// [`InvalidPart`] under the same rules as a session id.
    pub fn with_lane(self, lane: &str) -> Result<Self, InvalidPart> {
        self.with_lane_header(&parse(lane)?)
    }

    /// The same for a lane that is a header value already.
    fn with_lane_header(mut self, lane: &HeaderValue) -> Result<Self, InvalidPart> {
        self.lane = Some(part(lane, Self::MAX_SESSION_LEN)?);
        Ok(self)
    }

    /// Adds a sub-agent's thread to its lane: in Codex all sub-agents of one kind share the session id.
    fn with_thread(mut self, thread: &HeaderValue) -> Result<Self, InvalidPart> {
        let thread = part(thread, Self::MAX_SESSION_LEN)?;
        let lane = format!("{},{}", self.lane().unwrap_or_default(), text(&thread));
        self.lane = Some(parse(&lane)?);
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

    /// The key as text, after a prefix: the name under which a shared store keeps the pin. This text is
    /// canonical: two keys are equal exactly if their texts are, and [`decode`](Self::decode) reads it
    /// back. It is stable, and visible ASCII.
    ///
    /// ```text
    /// key     = session | [scope] ":" session [ ":" lane ]      the second if there is a scope or a lane
    /// session = [ "%observed=" ] [ "%" kind "=" ] part          no kind: the id came from a header
    /// part    = visible ASCII, of which % : { } are written as %25 %3A %7B %7D
    /// ```
    ///
    /// The kinds are those of [`IdKind`], as in `%prompt_cache_key=my-task`. A store that keeps the parts
    /// apart must keep the [`kind`](Self::kind) and [`is_observed`](Self::is_observed) too, and makes a key of them with
    /// [`from_parts`](Self::from_parts). A column for the text needs room for
    /// [`MAX_ENCODED_LEN`](Self::MAX_ENCODED_LEN) bytes.
    ///
    /// ```
    /// use affinity_layer::{AffinityKey, Scope};
    ///
    /// let key = AffinityKey::new("task:1")?.with_scope(Some(Scope::new("acme")?));
    /// assert_eq!(key.encode("pins:"), "pins:acme:task%3A1");
    /// assert_eq!(AffinityKey::decode(&key.encode("")), Some(key));
    /// # Ok::<(), affinity_layer::key::InvalidPart>(())
    /// ```
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
        out(self.marker());
        escape(self.session(), out);
        if let Some(lane) = lane {
            out(":");
            escape(lane, out);
        }
    }

    /// The key of which [`encode`](Self::encode) makes `name`, without a prefix; `None` when there is
    /// none.
    ///
    /// A name that is encoded differently, such as with `%61` for `a`, is not taken for the same key: what
    /// an operator asks for is what the store holds, or nothing.
    ///
    /// ```
    /// use affinity_layer::AffinityKey;
    ///
    /// let key = AffinityKey::decode("acme:task-1:reviewer").expect("a name");
    /// assert_eq!((key.scope(), key.session(), key.lane()), (Some("acme"), "task-1", Some("reviewer")));
    /// assert_eq!(AffinityKey::decode("t%61sk-1"), None);
    /// ```
    #[must_use]
    pub fn decode(name: &str) -> Option<Self> {
        // A colon too many ends up in the lane, and is noticed at the end.
        let mut parts = name.splitn(3, ':');
        let (first, second, lane) = (parts.next()?, parts.next(), parts.next());
        let (scope, session) = second.map_or(("", first), |session| (first, session));
        let observed = session.strip_prefix(OBSERVED);
        let (session, is_observed) = observed.map_or((session, false), |session| (session, true));
        let marked = |kind: &IdKind| Some((*kind, session.strip_prefix(kind.marker())?));
        let marked = IdKind::MARKED.iter().find_map(marked);
        let (kind, id) = marked.unwrap_or((IdKind::Header, session));
        let scope = match scope {
            "" => None,
            scope => Some(Scope::new(&unescape(scope)?).ok()?),
        };
        let key = Self::new(&unescape(id)?).ok()?.with_kind(kind).with_scope(scope);
        let key = match lane {
            Some(lane) => key.of_any_lane(&unescape(lane)?).ok()?,
            None => key,
        };
        let key = if is_observed { key.observed() } else { key };
        // A name that is written otherwise is another name.
        (key.encode("") == name).then_some(key)
    }

    /// Sets the lane to what one may have become: those of agents and models are joined by a comma.
    fn of_any_lane(mut self, lane: &str) -> Result<Self, InvalidPart> {
        if lane.len() > Self::MAX_JOINED_LANE_LEN {
            return Err(InvalidPart::TooLong(Self::MAX_JOINED_LANE_LEN));
        }
        for part in lane.split(',') {
            if parse(part)?.is_empty() {
                return Err(InvalidPart::Empty);
            }
        }
        self.lane = Some(parse(lane)?);
        Ok(self)
    }

    /// What named the session.
    #[must_use]
    pub fn kind(&self) -> IdKind {
        self.kind
    }

    /// The session id as the client sent it. In an id from a body, bytes that a header's id could not
    /// hold are percent-encoded; an id that the client did not send is a number that we drew (see
    /// [`IdKind::is_sent`]).
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

    /// The parts as bytes, for hashing: kind, scope, session, lane; an absent part is empty, which no
    /// present one can be. A hash of them must take in the length of each, else the end of one part could
    /// pass for the beginning of the next.
    pub(crate) fn parts(&self) -> [&[u8]; 4] {
        [
            self.marker().as_bytes(),
            self.scope.as_ref().map_or(&[], |scope| scope.as_str().as_bytes()),
            self.session.as_bytes(),
            self.lane.as_ref().map_or(&[], HeaderValue::as_bytes),
        ]
    }
}

impl fmt::Debug for AffinityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AffinityKey").finish_non_exhaustive()
    }
}

/// 128 random bits. The keys of a hasher come from the system, and differ from one state to the next.
fn random() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(()));
    (half() << 64) | half()
}

/// Hands `part` on as it stands in a name.
fn escape(part: &str, out: &mut impl FnMut(&str)) {
    // A part is visible ASCII, so these are all that may have to be escaped. Most have none.
    let is_escaped = |b: u8| (b == b'%') | (b == b':') | (b == b'{') | (b == b'}');
    if part.bytes().fold(false, |any, b| any | is_escaped(b)) {
        utf8_percent_encode(part, KEY_ESCAPES).for_each(out);
    } else {
        out(part);
    }
}

/// The part of a key that stands so in a name; `None` if it is no text.
fn unescape(part: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(part).decode_utf8().ok()
}

#[cfg(test)]
mod tests;
