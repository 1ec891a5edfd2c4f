//! Session ids that clients send in the body of a request.

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
/// If several are present, the first in this order counts.
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
    const ALL: [Self; 6] = [
        Self::SessionId,
        Self::MetadataSessionId,
        Self::PromptCacheKey,
        Self::Conversation,
        Self::UserId,
        Self::PreviousResponseId,
    ];

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
/// them the affinity layer reads the body itself where it has to.
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
    /// The members of a body that matter here.
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
    /// judges them.
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

    /// The same for a request whose answer no later request can continue.
    #[must_use]
    pub fn not_kept(self) -> Self {
        Self { is_kept: false, ..self }
    }

    /// Reads the ids out of a whole body; none when it is not a JSON object.
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
            Some(AffinityKey::from_header(id).ok()?.of_kind(source.kind()))
        })
    }
}

impl fmt::Debug for BodyIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyIds").finish_non_exhaustive()
    }
}

/// Any text as a part of a key.
pub(crate) fn session(id: &str) -> Option<HeaderValue> {
    let encoded = Cow::from(utf8_percent_encode(id, ID_ESCAPES));
    part(&parse(&encoded).ok()?, AffinityKey::MAX_SESSION_LEN).ok()
}

fn string(json: &[u8]) -> Option<String> {
    serde_json::from_slice(json).ok()
}

fn with_id(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Conversation {
        id: String,
    }

    string(json).or_else(|| object(json).map(|Conversation { id }| id))
}

fn metadata_session_id(metadata: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        session_id: String,
    }

    object(metadata).map(|Metadata { session_id }| session_id)
}

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

fn is_uuid(text: &str) -> bool {
    let groups = text
        .split('-')
        .map(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(group.len()));
    groups.eq([8, 4, 4, 4, 12].map(Some))
}

#[cfg(test)]
mod tests;
