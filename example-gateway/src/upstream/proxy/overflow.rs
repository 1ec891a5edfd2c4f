//! Whether a provider says that a request is too long for its model.
//!
//! To the session that is a failure of the candidate: one with a larger window can take the request. To
//! others it says nothing. Providers agree on no code, so the text decides, of errors only.

use affinity_layer::ext::LastingFailure;
use axum::body::Body;
use http::{HeaderMap, Response, StatusCode, header};

use crate::body::Beginning;
use crate::error::ApiError;

/// The most that is read of an error. A longer one, such as a 422 that repeats the request, passes unread.
const LONGEST_ERROR: usize = 64 * 1024;

/// What shows in an error that the request is too long. Compared in lower case. They stand for OpenAI, vLLM,
/// DeepSeek and Mistral (context length), OpenAI's responses and SGLang (context window), Anthropic (prompt,
/// context limit), Bedrock (input), xAI (prompt length), Gemini (token count), Cohere (tokens), Groq (reduce)
/// and llama.cpp (context size).
const TOO_LONG: [&str; 11] = [
    "context_length_exceeded",
    "context length",
    "context window",
    "context limit",
    "context size",
    "prompt is too long",
    "input is too long",
    "maximum prompt length",
    "exceeds the maximum number of tokens",
    "too many tokens",
    "reduce the length",
];

/// The answer, marked if it says that the request is too long; and whether it does.
///
/// # Errors
///
/// When the error breaks off.
pub(super) async fn judged(response: Response<Body>) -> Result<(Response<Body>, bool), ApiError> {
    let (mut head, body) = response.into_parts();
    if head.status == StatusCode::PAYLOAD_TOO_LARGE {
        head.extensions.insert(LastingFailure);
        return Ok((Response::from_parts(head, body), true));
    }
    let is_judged =
        [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY].contains(&head.status);
    if !is_judged || !can_be_read(&head.headers) {
        return Ok((Response::from_parts(head, body), false));
    }
    let error = Beginning::of(body, LONGEST_ERROR).await.map_err(|_| {
        let text = "the provider of the model broke off its answer";
        ApiError::new(StatusCode::BAD_GATEWAY, "upstream_error", text)
    })?;
    let error = match error {
        Beginning::Whole(error) => error,
        Beginning::Longer(body) => return Ok((Response::from_parts(head, body), false)),
    };
    let text = String::from_utf8_lossy(&error).to_lowercase();
    let is_too_long = TOO_LONG.iter().any(|words| text.contains(words));
    if is_too_long {
        head.extensions.insert(LastingFailure);
    }
    Ok((Response::from_parts(head, Body::from(error)), is_too_long))
}

fn can_be_read(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    !headers.contains_key(header::CONTENT_ENCODING)
        && length.is_none_or(|length| length <= LONGEST_ERROR)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;

    use super::*;

    async fn is_too_long(status: u16, text: &str) -> bool {
        let response = Response::builder().status(status).body(Body::from(text.to_owned()));
        let (response, is_too_long) = judged(response.unwrap()).await.unwrap();
        let is_marked = response.extensions().get::<LastingFailure>().is_some();
        assert_eq!(is_marked, is_too_long);
        let passed = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(passed, text, "the client gets it whole");
        is_too_long
    }

    #[tokio::test]
    async fn what_providers_say_of_too_long_a_request_is_understood() {
        for text in [
            r#"{"error":{"code":"context_length_exceeded","message":"Your input exceeds the context window of this model."}}"#,
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, you requested 9000"}}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 213462 tokens > 200000 maximum"}}"#,
            r#"{"error":{"message":"input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"}}"#,
            r#"{"error":{"code":400,"message":"The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).","status":"INVALID_ARGUMENT"}}"#,
            r#"{"message":"Input is too long for requested model."}"#,
            r#"{"error":"This model's maximum prompt length is 131072 but the request contains 537812 tokens."}"#,
            r#"{"error":{"message":"Please reduce the length of the messages or completion."}}"#,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size. try increasing the context size"}}"#,
        ] {
            assert!(is_too_long(400, text).await, "{text}");
            assert!(!is_too_long(500, text).await, "a failure anyway");
            assert!(!is_too_long(200, text).await);
        }
        assert!(is_too_long(413, "").await);
        for text in [
            r#"{"error":{"message":"max_tokens is too large: 50000. This model supports at most 16384 completion tokens"}}"#,
            r#"{"error":{"message":"messages: at least one message is required"}}"#,
            &"context length ".repeat(LONGEST_ERROR / 10),
        ] {
            assert!(!is_too_long(400, text).await, "{text}");
        }
    }

    #[tokio::test]
    async fn a_long_error_passes_whole_and_one_that_breaks_off_is_a_failure() {
        let piece = || Ok(Bytes::from(vec![b'x'; 10_000]));
        let passes = tokio_stream::iter((0..20).map(move |_| piece()));
        let gone = || Err(std::io::Error::other("gone"));
        let breaks = tokio_stream::iter((0..3).map(move |n| if n < 2 { piece() } else { gone() }));
        let answer = |body| Response::builder().status(422).body(body).unwrap();
        let (passed, is_too_long) = judged(answer(Body::from_stream(passes))).await.unwrap();
        assert!(!is_too_long);
        assert_eq!(passed.into_body().collect().await.unwrap().to_bytes().len(), 200_000);
        assert!(judged(answer(Body::from_stream(breaks))).await.is_err());
    }
}
