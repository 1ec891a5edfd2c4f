//! The three protocols that are served.

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
        match path.strip_prefix("/v1/").unwrap_or_default().split('/').next() {
            Some("messages") => Self::Messages,
            Some("responses") => Self::Responses,
            _ => Self::Chat,
        }
    }
}
