//! An agent as an HTTP service: it takes a chat completion, works on it in a loop of tool calls
//! through a gateway, and passes the caller's session on with every call, so that one model does
//! the whole task.
//!
//! ```text
//! cargo run -p example-gateway &
//! cargo run -p example-gateway --example agent_server &
//! curl -s http://127.0.0.1:8000/v1/chat/completions -H 'x-model-affinity: my-session' \
//!   -H 'content-type: application/json' \
//!   -d '{"messages":[{"role":"user","content":"PostgreSQL or MongoDB? Write benchmarks."}]}'
//! ```
//!
//! The answer's `turns` field says which model did what.

use std::io::IsTerminal;
use std::net::SocketAddr;

use affinity_layer::headers::SESSION_HEADERS;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use example_gateway::lab::client::{ClientError, GatewayClient};
use example_gateway::lab::demo::{Agent, Step};
use http::{HeaderMap, HeaderName, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

/// Turns after which an agent that has no answer gives up.
const MAX_TURNS: usize = 10;

/// An agent that works through a gateway and passes the caller's session on.
#[derive(Parser)]
struct Arguments {
    /// The gateway to call.
    #[arg(long, env = "GATEWAY_URL", default_value = "http://127.0.0.1:12000")]
    gateway: String,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(ansi).init();
    let arguments = Arguments::parse();
    let gateway = GatewayClient::new(&arguments.gateway)?;
    let listener = TcpListener::bind(arguments.listen).await?;
    tracing::info!(address = %listener.local_addr()?, "the agent listens");
    axum::serve(listener, app(gateway)).await?;
    Ok(())
}

fn app(gateway: GatewayClient) -> Router {
    Router::new().route("/v1/chat/completions", post(chat)).with_state(gateway)
}

async fn chat(
    State(gateway): State<GatewayClient>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Response {
    let Some(messages) = request.get("messages").and_then(Value::as_array) else {
        return error(StatusCode::BAD_REQUEST, "'messages' must be a list");
    };
    match work(Agent::new(vec![gateway], passed_on(&headers), messages.clone())).await {
        Ok(completion) => Json(completion).into_response(),
        // What the gateway refuses, such as a bad session id, is the caller's to mend.
        Err(ClientError::Status(status, body)) => {
            (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(why) => error(StatusCode::BAD_GATEWAY, &why.to_string()),
    }
}

/// The session, and the key for the gateway if it asks for one.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let named = |name: HeaderName| headers.get_all(&name).iter().map(move |v| (name.clone(), v));
    let names = SESSION_HEADERS.iter().cloned().chain([header::AUTHORIZATION]);
    names.flat_map(named).map(|(name, value)| (name, value.clone())).collect()
}

/// Runs the agent to its answer and makes a chat completion of it.
async fn work(mut agent: Agent) -> Result<Value, ClientError> {
    let mut turns = Vec::new();
    let mut message = json!({"role": "assistant", "content": null});
    let mut finish_reason = "length";
    let mut model = String::new();
    while turns.len() < MAX_TURNS && finish_reason != "stop" {
        let turn = agent.turn().await?;
        let tools = match turn.step {
            Step::Tools(names) => names,
            Step::Answer(text) => {
                message = json!({"role": "assistant", "content": text});
                finish_reason = "stop";
                Vec::new()
            }
        };
        turns.push(json!({"model": turn.model, "pinned": turn.pinned, "tools": tools}));
        model = turn.answered_by;
    }
    Ok(json!({
        "id": format!("chatcmpl-{}", Uuid::new_v4().simple()),
        "object": "chat.completion",
        "created": created(),
        "model": model,
        "choices": [{
            "index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason
        }],
        "turns": turns
    }))
}

fn created() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |age| age.as_secs())
}

fn error(status: StatusCode, message: &str) -> Response {
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let error = json!({"message": message, "type": kind, "param": null, "code": null});
    (status, Json(json!({"error": error}))).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::middleware::{Next, from_fn};
    use example_gateway::lab::provider;

    use super::*;

    async fn serve(app: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    #[tokio::test]
    async fn the_session_goes_out_with_every_call_and_nothing_else_does() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let provider = provider::router(provider::Options::default()).layer(from_fn(
            move |request: axum::extract::Request, next: Next| {
                record.lock().unwrap().push(request.headers().clone());
                next.run(request)
            },
        ));
        let agent = serve(app(GatewayClient::new(&serve(provider).await).unwrap())).await;

        let mut headers = HeaderMap::new();
        headers.insert("x-session-id", "s1".parse().unwrap());
        headers.insert("x-other", "1".parse().unwrap());
        let task = json!({"messages": [{"role": "user", "content": "PostgreSQL or MongoDB?"}]});
        let answer = GatewayClient::new(&agent).unwrap().chat(&headers, &task).await.unwrap();

        let content = answer.body.pointer("/choices/0/message/content").unwrap();
        assert!(content.as_str().unwrap().contains("PostgreSQL"));
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 4);
        assert!(seen.iter().all(|headers| headers["x-session-id"] == "s1"));
        assert!(seen.iter().all(|headers| !headers.contains_key("x-other")));
        assert_eq!(answer.body["turns"].as_array().unwrap().len(), 4);
    }

    #[tokio::test]
    async fn what_the_gateway_refuses_reaches_the_caller() {
        let refusal = (StatusCode::BAD_REQUEST, r#"{"error":{"code":"invalid_session_id"}}"#);
        let gateway = serve(Router::new().fallback(move || async move { refusal })).await;
        let agent = serve(app(GatewayClient::new(&gateway).unwrap())).await;
        let task = json!({"messages": []});
        let error = GatewayClient::new(&agent).unwrap().chat(&HeaderMap::new(), &task).await;
        let Err(ClientError::Status(status, body)) = error else { panic!("{error:?}") };
        assert_eq!((status, &body[..]), (refusal.0, refusal.1.as_bytes()));
    }
}
