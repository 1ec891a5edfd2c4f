//! What an answer cost.

/// Tokens of one answer; `None` for what the answer does not report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the request, cached ones included.
    pub prompt_tokens: Option<u64>,
    /// Those of the prompt that the provider had in its cache. `None` whenever `prompt_tokens` is.
    pub cached_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
}
