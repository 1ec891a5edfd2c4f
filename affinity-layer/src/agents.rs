//! What agent clients send on their own: headers that name their sessions, and blocks of text that
//! their harnesses put into messages.
//!
//! [`AffinityLayer::agents`](crate::AffinityLayer::agents) reads the headers. A gateway that keeps
//! session ids from its providers withholds both lists:
//!
//! ```
//! use affinity_layer::agents::{AGENT_HEADERS, AGENT_TRAIL_HEADERS};
//!
//! let mut headers = http::HeaderMap::new();
//! headers.insert("x-claude-code-session-id", http::HeaderValue::from_static("task-1"));
//! for name in AGENT_HEADERS.iter().chain(AGENT_TRAIL_HEADERS) {
//!     headers.remove(name);
//! }
//! assert!(headers.is_empty());
//! ```

mod harness;

use http::HeaderName;

pub use self::harness::without_harness;

/// The headers by which agent clients name a session, as seen on the wire in 2026.
///
/// The first of them that is present counts, after the layer's own headers. All of them are one namespace:
/// a client that changes from one to another with the same id stays in its session.
pub static AGENT_HEADERS: &[HeaderName] = {
    static NAMES: [HeaderName; 15] = [
        // Claude Code
        HeaderName::from_static("x-claude-code-session-id"),
        // Codex; the second is that of older versions, and of pi
        HeaderName::from_static("session-id"),
        HeaderName::from_static("session_id"),
        // OpenCode, which sends the same value as `x-session-id` too
        HeaderName::from_static("x-session-affinity"),
        // Cline
        HeaderName::from_static("x-task-id"),
        // hosts of Dynamo
        HeaderName::from_static("x-dynamo-session-id"),
        // Mistral Vibe
        HeaderName::from_static("x-affinity"),
        // OpenCode with its own provider
        HeaderName::from_static("x-opencode-session"),
        // further hosts and gateways
        HeaderName::from_static("x-litellm-session-id"),
        HeaderName::from_static("x-amp-thread-id"),
        HeaderName::from_static("x-hermes-session-id"),
        HeaderName::from_static("x-cagent-session-id"),
        HeaderName::from_static("x-grok-conv-id"),
        HeaderName::from_static("x-bf-session-id"),
        HeaderName::from_static("x-switchyard-session-id"),
    ];
    &NAMES
};

/// The session of goose: a date and a counter for each home, such as `20261130_1`. Strangers send the
/// same, so it names a session only together with the opening of the conversation.
pub(crate) const COUNTER_HEADER: HeaderName = HeaderName::from_static("agent-session-id");

/// The other headers of agent clients that hold or follow from the id of a session: those of parents,
/// sub-agents, threads and requests. A gateway that keeps session ids from providers withholds them
/// beside [`AGENT_HEADERS`].
pub static AGENT_TRAIL_HEADERS: &[HeaderName] = {
    static NAMES: [HeaderName; 10] = [
        // goose
        COUNTER_HEADER,
        // Claude Code
        HeaderName::from_static("x-claude-code-agent-id"),
        HeaderName::from_static("x-claude-code-parent-agent-id"),
        // Codex; the second, which pi sends too, has the uuid of the session
        HeaderName::from_static("thread-id"),
        HeaderName::from_static("x-client-request-id"),
        HeaderName::from_static("x-codex-turn-metadata"),
        HeaderName::from_static("x-openai-subagent"),
        // OpenCode
        HeaderName::from_static("x-parent-session-id"),
        // hosts of Dynamo
        HeaderName::from_static("x-dynamo-parent-session-id"),
        HeaderName::from_static("x-dynamo-session-final"),
    ];
    &NAMES
};

/// The headers by which a sub-agent of Claude Code says who it is, and one of Codex what it is for.
pub(crate) const SUB_AGENT_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("x-claude-code-agent-id"),
    HeaderName::from_static("x-openai-subagent"),
];

/// Tells the sub-agents of one kind apart, which share the session id in Codex.
pub(crate) const THREAD_HEADER: HeaderName = HeaderName::from_static("thread-id");

/// The headers by which a sub-agent with a session id of its own names that of its parent.
pub(crate) const PARENT_HEADERS: [HeaderName; 2] = [
    // OpenCode
    HeaderName::from_static("x-parent-session-id"),
    HeaderName::from_static("x-dynamo-parent-session-id"),
];

/// The headers by which those sub-agents name themselves, in the same order.
pub(crate) const CHILD_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-session-affinity"), HeaderName::from_static("x-dynamo-session-id")];

/// Which model the sub-agents of a session use.
///
/// The default suits agents whose sub-agents work on the main loop's context and profit from its cache.
/// [`Own`](Self::Own) suits those that give their sub-agents tasks of another size: each is then routed by
/// its own first prompt, and takes a pin of its own in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubAgents {
    /// That of the main loop: they share its pin, even if they have a session id of their own and name
    /// that of their parent. What a sub-agent begins or ends is not a turn of the main loop's user, so
    /// it neither moves the pin by [`NewTurn`](crate::ext::NewTurn) or a warm-up, nor
    /// releases it by a [final answer](crate::AnswerLayer::final_answer).
    #[default]
    Inherit,
    /// Each its own: its id is the key, or part of it.
    Own,
}
