//! Where a session id came from: each kind is a namespace of its own.
//!
//! A `prompt_cache_key` is chosen without a thought of sessions, and many clients send the same one. If it
//! shared a namespace with the ids in headers, whoever sends `x-model-affinity: my-app` would end up in
//! the session of everyone whose cache key is `my-app`. So the kind is a part of the key, and all names
//! of a kind begin with its marker.
//!
//! All headers are one kind. A client that changes from `x-session-id` to `x-model-affinity`, or a proxy
//! that renames a header, keeps its session.

/// What named a session. The same id of two kinds is two sessions, so that a client cannot make one
/// kind of id pass for another.
///
/// ```
/// use affinity_layer::{AffinityKey, key::IdKind};
///
/// let by_header = AffinityKey::new("my-task")?;
/// let by_cache_key = AffinityKey::decode("%prompt_cache_key=my-task").expect("a name");
/// assert_eq!(by_cache_key.kind(), IdKind::PromptCacheKey);
/// assert_eq!(by_cache_key.session(), by_header.session());
/// assert_ne!(by_cache_key, by_header);
/// # Ok::<(), affinity_layer::key::InvalidPart>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum IdKind {
    /// A header.
    #[default]
    Header,
    /// `session_id` in the body.
    SessionId,
    /// `metadata.session_id` in the body.
    MetadataSessionId,
    /// `prompt_cache_key` in the body.
    PromptCacheKey,
    /// `conversation` in the body.
    Conversation,
    /// The session in `metadata.user_id` in the body.
    UserId,
    /// Not sent: a conversation in Responses that began without an id, and is found again by
    /// `previous_response_id`. The id is random.
    Begun,
    /// Not sent: a conversation that is known by what was said in it. The id is random, or a hash of the
    /// opening where a client counts its sessions.
    Fingerprint,
    /// A response's id. It names no session; what is stored under it says to which session the response
    /// belongs.
    Response,
    /// The id of what lives at a provider, such as a response, a container or a file. It names no session;
    /// what is stored under it says at which model's provider it lives.
    Held,
    /// A hash of something that was said. It names no session either; what is stored under it says which
    /// session goes on from there.
    Said,
}

impl IdKind {
    /// Those with a marker.
    pub(crate) const MARKED: [Self; 10] = [
        Self::SessionId,
        Self::MetadataSessionId,
        Self::PromptCacheKey,
        Self::Conversation,
        Self::UserId,
        Self::Begun,
        Self::Fingerprint,
        Self::Response,
        Self::Held,
        Self::Said,
    ];

    /// Whether the client sent the id itself, and sends it again with every request. An id that was not sent
    /// means nothing to the client: do not show it one.
    #[must_use]
    pub const fn is_sent(self) -> bool {
        !matches!(self, Self::Begun | Self::Fingerprint | Self::Response | Self::Held | Self::Said)
    }
}

/// The prefixes of kinds, each also behind that of an observed claim.
macro_rules! markers {
    ($($kind:ident: $marker:literal,)*) => {
        impl IdKind {
            /// The prefix of an id of this kind in the name of its pin. A `%` in an id is encoded as `%25`, so
            /// no id of a header can begin like this, and no prefix begins another.
            pub(super) const fn marker(self) -> &'static str {
                match self {
                    $(Self::$kind => $marker,)*
                }
            }

            /// The same in the name of an observed claim, which begins with [`OBSERVED`].
            pub(super) const fn observed_marker(self) -> &'static str {
                match self {
                    $(Self::$kind => concat!("%observed=", $marker),)*
                }
            }
        }
    };
}

markers! {
    Header: "",
    SessionId: "%session_id=",
    MetadataSessionId: "%metadata.session_id=",
    PromptCacheKey: "%prompt_cache_key=",
    Conversation: "%conversation=",
    UserId: "%user_id=",
    Begun: "%begun=",
    Fingerprint: "%fingerprint=",
    Response: "%response=",
    Held: "%held=",
    Said: "%said=",
}

/// What the name of an observed claim begins with.
pub(crate) const OBSERVED: &str = IdKind::Header.observed_marker();
