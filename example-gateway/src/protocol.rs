//! The three protocols that are served.
//!
//! The path alone tells which one a request speaks. So a refusal has its shape before the body is read, and
//! a body cannot choose how it is judged.

/// How a request speaks to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// OpenAI's Chat Completions.
    Chat,
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Responses.
    Responses,
}

impl Protocol {
    /// The protocol of a path, below `/v1` or `/routing/v1`. Any other path speaks as OpenAI does.
    pub(crate) fn of(path: &str) -> Self {
        let path = path.strip_prefix("/routing").unwrap_or(path);
        let path = path.strip_prefix("/v1/").unwrap_or_default();
        let is_below = |name: &str| {
            path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if is_below("messages") {
            Self::Messages
        } else if is_below("responses") {
            Self::Responses
        } else {
            Self::Chat
        }
    }
}
