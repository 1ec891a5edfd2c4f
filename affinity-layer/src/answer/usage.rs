//! What an answer cost.

/// Tokens of one answer; `None` for what the answer does not report.
///
/// The protocols count differently: Messages leaves out of its input what was read from the cache or written
/// to it, the others include both. Here the prompt always includes them, so that answers of any protocol can
/// be added up. An
/// absent count is `None` and not 0: a stream of Chat Completions that was not asked for its usage has
/// cost something all the same, and a sum of zeros would hide that.
///
/// ```
/// use affinity_layer::answer::AnswerReader;
///
/// let answer = r#"{"usage":{"input_tokens":200,"cache_read_input_tokens":1800,"output_tokens":50}}"#;
/// let mut reader = AnswerReader::new("application/json").expect("a content type of answers");
/// reader.feed(answer.as_bytes());
/// let usage = reader.usage();
/// assert_eq!(usage.prompt_tokens, Some(2000));
/// assert_eq!(usage.cached_tokens, Some(1800));
/// assert_eq!(usage.output_tokens, Some(50));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the request, cached ones included.
    pub prompt_tokens: Option<u64>,
    /// Those of the prompt that the provider had in its cache. `None` whenever `prompt_tokens` is.
    pub cached_tokens: Option<u64>,
    /// Those of the prompt that the provider has written to its cache, which some charge more for than
    /// for others. `None` whenever `prompt_tokens` is.
    pub written_tokens: Option<u64>,
    /// Those of `written_tokens` that are kept for an hour instead of five minutes, as Messages reports them;
    /// 0 in the other protocols, which know one lifetime. `None` whenever `prompt_tokens` is.
    pub written_1h_tokens: Option<u64>,
    /// Tokens of the answer, as the provider counts them: with those of its reasoning.
    pub output_tokens: Option<u64>,
}
