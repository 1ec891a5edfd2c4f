//! Session ids that clients send in the body of a request.
//!
//! Six members may name a session, in the three protocols of OpenAI and Anthropic and in those of gateways
//! that extend them. They are read out of the top level of the body and of `metadata`; the conversation
//! itself, by far the larger part, is skipped.
//!
//! None of them is ours. A value that is empty, too long or of another type is left to the provider, which
//! answers for its own API; here it is simply no id. `user` and `safety_identifier` are not read: they name
//! a person, who may have many conversations.
//!
//! Unlike an id in a header, one in a body may hold any text. It is percent-encoded where a key could not
//! hold it, so that two different ids stay different.

use std::borrow::Cow;
use std::fmt;

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::part::{parse, part};
use super::{AffinityKey, IdKind};

/// What a part of a key cannot hold. With `%` among it, two ids never become one.
const ID_ESCAPES: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

/// A member of a request's body that may name the session.
///
/// If several are present, the first in this order counts; one that cannot be a key is passed over. They
/// are read only for a request that no header names, and only if
/// [`AffinityLayer::body_ids`](crate::AffinityLayer::body_ids) lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyId {
    /// `session_id`, as OpenRouter takes it.
    SessionId,
    /// `metadata.session_id`.
    MetadataSessionId,
    /// `prompt_cache_key`. A client that sends one and the same for all its conversations makes them
    /// one session by it.
    PromptCacheKey,
    /// `conversation`: the id, or an object with `id`.
    Conversation,
    /// `metadata.user_id` as Claude Code fills it: JSON with `session_id`, or a text that ends in
    /// `_session_` and a UUID. Any other value names a person, not a session.
    UserId,
    /// `previous_response_id`: the conversation that the response belongs to, however long and
    /// whatever branches off where. It needs an [`AnswerLayer`](crate::AnswerLayer) below, which learns
    /// the ids of responses.
    PreviousResponseId,
}

impl BodyId {
    /// All of them, in the order in which they count.
    const ALL: [Self; 6] = [
        Self::SessionId,
        Self::MetadataSessionId,
        Self::PromptCacheKey,
        Self::Conversation,
        Self::UserId,
        Self::PreviousResponseId,
    ];

    /// The namespace of its ids.
    fn kind(self) -> IdKind {
        match self {
            Self::SessionId => IdKind::SessionId,
            Self::MetadataSessionId => IdKind::MetadataSessionId,
            Self::PromptCacheKey => IdKind::PromptCacheKey,
            Self::Conversation => IdKind::Conversation,
            Self::UserId => IdKind::UserId,
            Self::PreviousResponseId => IdKind::Response,
        }
    }
}

/// The ids in the body of a request.
///
/// A layer outside that has read the body anyway may put them into the request's extensions; without
/// them the affinity layer reads the body itself where it has to. With them a request whose id is in the
/// body can be a hit without waiting, as one whose id is in a header.
///
/// ```
/// use affinity_layer::key::BodyIds;
///
/// // What a layer outside has found in the body, and where.
/// let body = br#"{"prompt_cache_key":"my-task","input":"hello"}"#;
/// let ids = BodyIds::read(|member| match member {
///     "prompt_cache_key" => Some(&body[20..29]),
///     _ => None,
/// });
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(ids);
/// ```
#[derive(Clone, Default)]
pub struct BodyIds {
    /// In the order of [`BodyId::ALL`].
    found: [Option<HeaderValue>; BodyId::ALL.len()],
    /// The body continues a conversation of this API, by whatever id.
    pub(super) in_conversation: bool,
    /// The body continues a response.
    pub(super) follows: bool,
    /// A later request may continue the answer to this one.
    pub(super) is_kept: bool,
}

impl BodyIds {
    /// The members of a body that matter here, all at its top level. Whoever scans a body for
    /// [`read`](Self::read) need not remember any other.
    pub const MEMBERS: &[&str] = &Self::NAMES;

    const NAMES: [&str; 6] = [
        "session_id",
        "prompt_cache_key",
        "conversation",
        "metadata",
        "previous_response_id",
        "store",
    ];

    /// Reads the ids out of the body's members; `member` gives the JSON of one of
    /// [`MEMBERS`](Self::MEMBERS), if it is there.
    ///
    /// What is empty, too long or of another type is no id: these members are the provider's, which
    /// judges them. All sources are read, whether or not the layer is set to use them.
    pub fn read<'a>(member: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let [session_id, cache_key, conversation, metadata, previous, store] =
            Self::NAMES.map(|name| member(name).unwrap_or(b"null"));
        let found = [
            string(session_id),
            metadata_session_id(metadata),
            string(cache_key),
            with_id(conversation),
            user_id(metadata),
            string(previous),
        ];
        let found = found.map(|id| id.as_deref().and_then(session));
        let is_set = |json: &[u8]| json != b"null";
        Self {
            found,
            in_conversation: is_set(conversation),
            follows: is_set(previous),
            is_kept: store != b"false",
        }
    }

    /// The same for a request whose answer no later request can continue, such as one that only asks for a
    /// routing decision: no conversation begins with it.
    #[must_use]
    pub fn not_kept(self) -> Self {
        Self { is_kept: false, ..self }
    }

    /// Whether a later request may refer to the answer to this one.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Reads the ids out of a whole body; none when it is not a JSON object. The other members are passed over
    /// without being built. A body that has one of these members twice has no ids here, because nobody knows
    /// which of them its provider reads.
    pub(crate) fn of_body(body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        struct Members<'a> {
            #[serde(borrow)]
            session_id: Option<&'a RawValue>,
            #[serde(borrow)]
            prompt_cache_key: Option<&'a RawValue>,
            #[serde(borrow)]
            conversation: Option<&'a RawValue>,
            #[serde(borrow)]
            metadata: Option<&'a RawValue>,
            #[serde(borrow)]
            previous_response_id: Option<&'a RawValue>,
            #[serde(borrow)]
            store: Option<&'a RawValue>,
        }

        let members: Members<'_> = object(body).unwrap_or_default();
        Self::read(|name| {
            let value = match name {
                "session_id" => members.session_id,
                "prompt_cache_key" => members.prompt_cache_key,
                "conversation" => members.conversation,
                "metadata" => members.metadata,
                "previous_response_id" => members.previous_response_id,
                _ => members.store,
            };
            value.map(|value| value.get().as_bytes())
        })
    }

    /// The key by the first of `sources` that has an id.
    pub(super) fn key(&self, sources: &[BodyId]) -> Option<AffinityKey> {
        BodyId::ALL.into_iter().zip(&self.found).find_map(|(source, id)| {
            let id = id.as_ref().filter(|_| sources.contains(&source))?;
            Some(AffinityKey::from_header(id).ok()?.with_kind(source.kind()))
        })
    }
}

impl fmt::Debug for BodyIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyIds").finish_non_exhaustive()
    }
}

/// Any text as a part of a key; `None` if it is empty or, once encoded, longer than
/// [`AffinityKey::MAX_SESSION_LEN`].
pub(crate) fn session(id: &str) -> Option<HeaderValue> {
    let encoded = Cow::from(utf8_percent_encode(id, ID_ESCAPES));
    part(&parse(&encoded).ok()?, AffinityKey::MAX_SESSION_LEN).ok()
}

/// The text of a JSON string.
fn string(json: &[u8]) -> Option<String> {
    serde_json::from_slice(json).ok()
}

/// An id, or the object that a client of the Conversations API passes on whole.
fn with_id(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Conversation {
        id: String,
    }

    string(json).or_else(|| object(json).map(|Conversation { id }| id))
}

/// `session_id` in `metadata`; other members there are the client's own.
fn metadata_session_id(metadata: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        session_id: String,
    }

    object(metadata).map(|Metadata { session_id }| session_id)
}

/// The session that Claude Code puts into `metadata.user_id`: today as JSON in a string, in older versions
/// as the end of a longer name. The UUID is checked, so that a user called `my_session_name` is none.
fn user_id(metadata: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        user_id: String,
    }

    #[derive(Deserialize)]
    struct ClaudeCode {
        session_id: String,
    }

    let Metadata { user_id } = object(metadata)?;
    if let Some(ClaudeCode { session_id }) = object(user_id.as_bytes()) {
        return Some(session_id);
    }
    let (_, session) = user_id.rsplit_once("_session_")?;
    is_uuid(session).then(|| session.to_owned())
}

/// The members of an object. For derived code an array would do as well, its elements for them.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let is_object = json.trim_ascii_start().first() == Some(&b'{');
    is_object.then(|| serde_json::from_slice(json).ok()).flatten()
}

/// Whether `text` is a UUID in its usual form, in either case.
fn is_uuid(text: &str) -> bool {
    let groups = text
        .split('-')
        .map(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(group.len()));
    groups.eq([8, 4, 4, 4, 12].map(Some))
}

#[cfg(test)]
mod tests;
