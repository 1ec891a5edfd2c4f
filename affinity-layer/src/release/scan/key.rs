//! The names in an answer that mean something to us.

/// A step of a path, as far as it matters to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Choices,
    FinishReason,
    Message,
    ToolCalls,
    FunctionCall,
    StopReason,
    Delta,
    Status,
    Response,
    Output,
    Type,
    Id,
    Usage,
    PromptTokens,
    CompletionTokens,
    InputTokens,
    OutputTokens,
    PromptTokensDetails,
    InputTokensDetails,
    CachedTokens,
    CacheReadInputTokens,
    CacheCreationInputTokens,
    Other,
    /// An element of an array.
    Element,
}

impl Key {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "choices" => Self::Choices,
            "finish_reason" => Self::FinishReason,
            "message" => Self::Message,
            "tool_calls" => Self::ToolCalls,
            "function_call" => Self::FunctionCall,
            "stop_reason" => Self::StopReason,
            "delta" => Self::Delta,
            "status" => Self::Status,
            "response" => Self::Response,
            "output" => Self::Output,
            "type" => Self::Type,
            "id" => Self::Id,
            "usage" => Self::Usage,
            "prompt_tokens" => Self::PromptTokens,
            "completion_tokens" => Self::CompletionTokens,
            "input_tokens" => Self::InputTokens,
            "output_tokens" => Self::OutputTokens,
            "prompt_tokens_details" => Self::PromptTokensDetails,
            "input_tokens_details" => Self::InputTokensDetails,
            "cached_tokens" => Self::CachedTokens,
            "cache_read_input_tokens" => Self::CacheReadInputTokens,
            "cache_creation_input_tokens" => Self::CacheCreationInputTokens,
            _ => Self::Other,
        }
    }
}
