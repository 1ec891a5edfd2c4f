//! Headers that agent clients send on their own.

use http::HeaderName;

/// The headers by which agent clients name a session, as seen on the wire in 2026.
pub const AGENT_HEADERS: [HeaderName; 6] = [
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
];

/// The other headers of agent clients that hold or follow from the id of a session: those of parents,
/// sub-agents, threads and requests. A gateway that keeps session ids from providers withholds them
/// beside [`AGENT_HEADERS`].
pub const AGENT_TRAIL_HEADERS: [HeaderName; 9] = [
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

/// The headers by which a sub-agent of Claude Code says who it is, and one of Codex what it is for.
pub(super) const SUB_AGENT_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("x-claude-code-agent-id"),
    HeaderName::from_static("x-openai-subagent"),
];

/// Tells the sub-agents of one kind apart, which share the session id in Codex.
pub(super) const THREAD_HEADER: HeaderName = HeaderName::from_static("thread-id");

/// The headers by which a sub-agent with a session id of its own names that of its parent.
pub(super) const PARENT_HEADERS: [HeaderName; 2] = [
    // OpenCode
    HeaderName::from_static("x-parent-session-id"),
    HeaderName::from_static("x-dynamo-parent-session-id"),
];

/// The headers by which those sub-agents name themselves, in the same order.
pub(super) const CHILD_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-session-affinity"), HeaderName::from_static("x-dynamo-session-id")];

/// Which model the sub-agents of a session use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubAgents {
    /// That of the main loop: they share its pin, also where they have a session id of their own and
    /// name that of their parent. What a sub-agent begins or ends is no turn of the
    /// main loop's user, so it neither moves the pin by [`NewTurn`](crate::NewTurn) or a warm-up, nor
    /// releases it by a [final answer](crate::ReleaseLayer::final_answer).
    #[default]
    Inherit,
    /// Each its own: its id is the key, or part of it.
    Own,
}
