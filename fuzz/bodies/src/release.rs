use std::cell::LazyCell;
use std::convert::Infallible;
use std::time::Duration;

use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, AnswerLayer, MemoryStore, ModelName, RouteDecision,
    RouteRequest,
};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

/// Items of Responses for tools that the provider itself has run.
const HOSTED: [&str; 5] = [
    "code_interpreter_call",
    "file_search_call",
    "image_generation_call",
    "mcp_call",
    "web_search_call",
];

thread_local! {
    static STACK: LazyCell<Stack> = const { LazyCell::new(Stack::new) };
}

/// The release of pins: an answer passes byte by byte unchanged; whether it ends its session does not
/// depend on how it is cut, and for a plain answer is what its JSON says.
pub fn release(data: &[u8]) {
    let Some((how, answer)) = crate::input::<(u8, &[u8])>(data) else { return };
    STACK.with(|stack| {
        let cut = usize::from(how & 0x7f).max(1);
        if how & 0x80 != 0 {
            assert!(stack.releases("application/json", true, answer.chunks(cut)));
            return;
        }
        let ends = agreed(stack, "application/json", answer, cut);
        if !crate::goes_on_after_done(answer) {
            agreed(stack, "text/event-stream", answer, cut);
        }
        // No string is too long to be looked at.
        if answer.len() <= AffinityKey::MAX_SESSION_LEN
            && let Some(answer) = crate::distinct::parse(answer)
        {
            assert_eq!(ends, is_last(&answer), "{answer}");
        }
    });
}

fn agreed(stack: &Stack, kind: &'static str, answer: &[u8], cut: usize) -> bool {
    let whole = stack.releases(kind, false, std::iter::once(answer));
    assert_eq!(stack.releases(kind, false, answer.chunks(cut)), whole, "{kind}");
    assert_eq!(stack.releases(kind, false, answer.chunks(1)), whole, "{kind}");
    whole
}

/// A session whose provider answers as configured.
struct Stack {
    runtime: Runtime,
    store: MemoryStore,
    service: BoxCloneService<Request<Body>, Response<Body>, Infallible>,
}

#[derive(Clone)]
struct Answer {
    kind: &'static str,
    pieces: Vec<Bytes>,
}

impl Stack {
    fn new() -> Self {
        let router = service_fn(|_: RouteRequest| async {
            Ok::<_, BoxError>(RouteDecision::new([ModelName::new("a/b")?]))
        });
        let provider = service_fn(|mut request: Request<Body>| async move {
            let Answer { kind, pieces } = request.extensions_mut().remove().expect("an answer");
            let frames =
                pieces.into_iter().map(|piece| Ok::<_, Infallible>(http_body::Frame::data(piece)));
            let body = Body::new(StreamBody::new(stream::iter(frames)));
            Ok(Response::builder().header("content-type", kind).body(body).unwrap())
        });
        let store = MemoryStore::default();
        let service = ServiceBuilder::new()
            // A fuzzer may get the processor seldom, and would find a store that is too slow.
            .layer(
                AffinityLayer::new(store.clone(), router).store_budget(Duration::from_secs(3600)),
            )
            .map_response(|response: Response<_>| response.map(Body::new))
            .layer(AnswerLayer::new().final_answer(true))
            .service(provider);
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        Self { runtime, store, service: BoxCloneService::new(service) }
    }

    /// Whether this answer ends its session.
    fn releases<'a>(
        &self,
        kind: &'static str,
        is_final: bool,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let pieces: Vec<_> = pieces.map(Bytes::copy_from_slice).collect();
        let sent = pieces.concat();
        let mut request = Request::post("/v1/chat/completions").header("x-model-affinity", "s");
        if is_final {
            request = request.header("x-plano-affinity", "final");
        }
        let request = request.extension(Answer { kind, pieces }).body(Body::empty()).unwrap();
        self.runtime.block_on(async {
            let response = self.service.clone().oneshot(request).await.unwrap();
            assert_eq!(response.headers()["x-plano-affinity"], "claimed");
            let passed = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(passed, sent);
            let key = AffinityKey::new("s").unwrap();
            !self.store.release(&key, None).await.unwrap()
        })
    }
}

/// Whether a plain answer says that its task is over, read whole: there is a reason to stop, and no
/// call that the client has to carry out.
fn is_last(answer: &Value) -> bool {
    let mut stops = false;
    for reason in reasons(answer) {
        match &*reason {
            "" => {}
            "tool_calls" | "function_call" | "tool_use" | "pause_turn" | "compaction" => {
                return false;
            }
            _ => stops = true,
        }
    }
    for place in [answer, &answer["response"]] {
        let status = text(&place["status"]);
        stops |= matches!(&*status, "completed" | "incomplete" | "failed" | "cancelled");
    }
    stops && !calls(answer)
}

/// What Chat Completions and Messages say of why the model stopped. The reason that the one has for a
/// call would end an answer of the other.
fn reasons(answer: &Value) -> Vec<String> {
    let end = |reason: String, calls: &[&str]| match calls.contains(&&*reason) || reason.is_empty()
    {
        true => reason,
        false => "stop".to_owned(),
    };
    let choices = list(&answer["choices"]).into_iter();
    let chat =
        choices.map(|choice| end(text(&choice["finish_reason"]), &["tool_calls", "function_call"]));
    let messages = [&answer["stop_reason"], &answer["delta"]["stop_reason"]];
    let messages =
        messages.map(|reason| end(text(reason), &["tool_use", "pause_turn", "compaction"]));
    chat.chain(messages).collect()
}

fn calls(answer: &Value) -> bool {
    let of_chat = list(&answer["choices"]).iter().any(|choice| {
        [&choice["message"], &choice["delta"]].into_iter().any(|said| {
            said["function_call"].is_object()
                || list(&said["tool_calls"]).iter().any(Value::is_object)
        })
    });
    let mut blocks = [list(&answer["content"]), list(&answer["message"]["content"])].concat();
    blocks.push(answer["content_block"].clone());
    let mut items = [list(&answer["output"]), list(&answer["response"]["output"])].concat();
    items.push(answer["item"].clone());
    let for_client = |kind: &str| {
        kind == "mcp_approval_request" || kind.ends_with("_call") && !HOSTED.contains(&kind)
    };
    let event = text(&answer["type"]);
    of_chat
        || blocks.iter().any(|block| block["type"] == "tool_use")
        || items.iter().any(|item| for_client(&text(&item["type"])))
        || event.starts_with("response.function_call_arguments.")
        || event.starts_with("response.custom_tool_call_input.")
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
