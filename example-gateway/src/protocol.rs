//! The three protocols that are served, and the shapes that errors have.
//!
//! The head alone tells which one a request speaks. So a refusal has its shape before the body is read, and
//! a body cannot choose how it is judged.

use http::HeaderMap;

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

/// The API whose clients read an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    OpenAi,
    Anthropic,
    Google,
}

impl From<Protocol> for Shape {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Messages => Self::Anthropic,
            Protocol::Chat | Protocol::Responses => Self::OpenAi,
        }
    }
}

impl Shape {
    /// The shape for the client of a request: by its path, else by the header that all of Anthropic's clients
    /// send.
    pub(crate) fn of(path: &str, headers: &HeaderMap) -> Self {
        if is_google(path) {
            Self::Google
        } else if speaks_anthropic(headers) {
            Self::Anthropic
        } else {
            Protocol::of(path).into()
        }
    }
}

/// Anthropic's clients, and nobody else, send this header with every request.
pub(crate) fn speaks_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// Whether a path is one of Gemini's own API or of Vertex AI, as in
/// `/v1beta/models/gemini-3-pro:generateContent`.
pub(crate) fn is_google(path: &str) -> bool {
    let is_version = ["v1beta", "v1alpha"]
        .iter()
        .any(|version| path.trim_start_matches('/').starts_with(version));
    let method = path.rsplit('/').next().and_then(|last| last.split_once(':'));
    is_version || method.is_some_and(|(_, method)| METHODS.contains(&method))
}

/// Methods of Gemini's models, which stand behind a colon.
const METHODS: [&str; 6] = [
    "batchEmbedContents",
    "countTokens",
    "embedContent",
    "generateContent",
    "predict",
    "streamGenerateContent",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_or_the_version_tells_the_shape() {
        let version = HeaderMap::from_iter([(
            http::HeaderName::from_static("anthropic-version"),
            http::HeaderValue::from_static("2023-06-01"),
        )]);
        for (path, headers, shape) in [
            ("/v1/messages", HeaderMap::new(), Shape::Anthropic),
            ("/v1/files", version.clone(), Shape::Anthropic),
            ("/v1/files", HeaderMap::new(), Shape::OpenAi),
            ("/v1/responses/resp_1", HeaderMap::new(), Shape::OpenAi),
            ("/v1beta/models", HeaderMap::new(), Shape::Google),
            ("/v1beta/models/gemini-3-pro:generateContent", version, Shape::Google),
            ("/v1/models/gemini-3-pro:streamGenerateContent", HeaderMap::new(), Shape::Google),
            ("/v1/models/ollama/qwen3:8b", HeaderMap::new(), Shape::OpenAi),
        ] {
            assert_eq!(Shape::of(path, &headers), shape, "{path}");
        }
    }
}
