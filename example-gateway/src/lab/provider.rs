//! A simulated provider: it speaks the protocols of OpenAI and Anthropic on the wire and answers
//! by a fixed script, so that the gateway can be shown and tested without keys or network.
//!
//! - `POST /v1/chat/completions`, `/v1/messages`, `/v1/responses`, plain and as a stream;
//!   `POST /v1/messages/count_tokens`; `GET /v1/models`. All of them also without `/v1`.
//! - A conversation that offers tools goes through three rounds of tool calls, then ends with text.
//! - A message that holds a `<routes>` list is answered as a routing model would, with the next of
//!   the offered routes at each call: without pinning, the model visibly changes.
//! - Prompts are cached by model, from the beginning of a conversation on, and `usage` reports it.
//! - `GET /stats` reports how often it was called, and for how many tokens.

mod cache;
mod chat;
mod conversation;
mod error;
mod fields;
mod messages;
mod protocol;
mod responses;
mod routing;
mod schema;
mod script;
mod sse;
mod stats;

use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::cache::{Cached, PromptCache};
use self::conversation::{Answer, Conversation, Reply};
use self::error::Failure;
use self::protocol::Protocol;
pub use self::stats::{Stats, Usage};

/// Largest request body, in bytes.
const BODY_LIMIT: usize = 32 << 20;

/// What `GET /v1/models` lists; any other model is served as well.
const LISTED_MODELS: [&str; 7] = [
    "gpt-6.1-sol",
    "gpt-6.1-terra",
    "claude-sonnet-5-5",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5.2",
    "claude-sonnet-4-20250514",
];

/// How the provider behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Time before an answer begins.
    pub turn_delay: Duration,
    /// Time between two events of a stream.
    pub chunk_delay: Duration,
    /// What was asked so far; keep a clone to read it from the same process.
    pub stats: Stats,
}

/// What answers are made from.
#[derive(Clone, Debug)]
struct Provider {
    options: Options,
    cache: PromptCache,
}

/// The provider as an axum router.
pub fn router(options: Options) -> Router {
    let api = Router::new()
        .route("/chat/completions", post(|s, body| answer(Protocol::Chat, s, body)))
        .route("/messages", post(|s, body| answer(Protocol::Messages, s, body)))
        .route("/messages/count_tokens", post(count_tokens))
        .route("/responses", post(|s, body| answer(Protocol::Responses, s, body)))
        .route("/models", get(models));
    Router::new()
        .merge(api.clone())
        .nest("/v1", api)
        .route("/stats", get(stats))
        .fallback(|method: Method, uri: Uri| async move {
            Protocol::of(uri.path()).failure(&Failure::not_found(&method, uri.path()))
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            Protocol::of(uri.path()).failure(&Failure::method_not_allowed(&method))
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Provider { options, cache: PromptCache::default() })
}

/// Serves the provider until `shutdown` completes, then lets running answers end.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let listener = listener.tap_io(|stream| {
        // Without it an answer of several small writes waits for the other side's delayed ack.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    let server = axum::serve(listener, router(options)).with_graceful_shutdown(shutdown);
    if let Err(error) = server.await {
        tracing::warn!(%error, "the simulated provider ended");
    }
}

/// A body as axum reads it, or why it could not.
type Body = Result<Bytes, BytesRejection>;

async fn answer(protocol: Protocol, State(provider): State<Provider>, body: Body) -> Response {
    let Provider { options, cache } = provider;
    let (request, conversation, size) = match read(protocol, body) {
        Ok(read) => read,
        Err(failure) => return protocol.failure(&failure),
    };
    if !options.turn_delay.is_zero() {
        tokio::time::sleep(options.turn_delay).await;
    }
    let answer = match routing::reply(&conversation, &options.stats) {
        Some(decision) => {
            let reply = Reply::Text(decision);
            Answer::new(request, conversation, reply, size, Cached::default())
        }
        None => {
            let cached = cache.look(&conversation.model, &request);
            let reply = script::reply(&conversation);
            let answer = Answer::new(request, conversation, reply, size, cached);
            options.stats.count_request(&answer.conversation.model, &answer.tokens);
            answer
        }
    };
    if answer.conversation.stream {
        sse::response(protocol.events(&answer), options.chunk_delay)
    } else {
        Json(protocol.plain(&answer)).into_response()
    }
}

async fn count_tokens(body: Body) -> Response {
    match read(Protocol::Messages, body) {
        Ok((.., size)) => Json(json!({"input_tokens": conversation::tokens(size)})).into_response(),
        Err(failure) => Protocol::Messages.failure(&failure),
    }
}

/// The request, what it means, and its size in bytes.
fn read(protocol: Protocol, body: Body) -> Result<(Value, Conversation, usize), Failure> {
    let body = body.map_err(|error| Failure::unread(&error))?;
    let request = serde_json::from_slice(&body)
        .map_err(|_| Failure::invalid("the body is not valid JSON", None))?;
    let conversation = protocol.parse(&request)?;
    Ok((request, conversation, body.len()))
}

async fn stats(State(provider): State<Provider>) -> Json<Stats> {
    Json(provider.options.stats)
}

async fn models() -> Json<Value> {
    let data = LISTED_MODELS.map(|id| {
        json!({"id": id, "object": "model", "created": 1_715_367_049, "owned_by": "simulated"})
    });
    Json(json!({"object": "list", "data": data}))
}

#[cfg(test)]
mod tests;
