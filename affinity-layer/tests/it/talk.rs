//! Agent loops that name no session, in three protocols, plain and streamed.

use std::convert::Infallible;

use affinity_layer::{
    AnswerLayer, BoxError, Fingerprint, MemoryStore, PinnedModel, RouterService, Scope,
};
use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Messages,
    Responses,
}

pub(crate) const APIS: [Api; 3] = [Api::Chat, Api::Messages, Api::Responses];

/// An answer of the model: text, the ids of its calls, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) calls: Vec<String>,
}

pub(crate) fn text(text: &str) -> Answer {
    Answer { text: text.to_owned(), calls: Vec::new() }
}

pub(crate) fn calls(ids: &[&str]) -> Answer {
    Answer { text: String::new(), calls: ids.iter().map(|id| (*id).to_owned()).collect() }
}

/// What is sent after the last answer: results of its calls, or a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Asked(String),
    Answered(Answer),
    /// The results of the calls of the answer before.
    Results(Vec<(String, String)>),
}

pub(crate) fn asked(text: &str) -> Turn {
    Turn::Asked(text.to_owned())
}

/// A conversation, as its client keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) api: Api,
    pub(crate) stream: bool,
    pub(crate) instructions: String,
    pub(crate) tools: bool,
    pub(crate) turns: Vec<Turn>,
}

impl Talk {
    pub(crate) fn new(api: Api, opening: &str) -> Self {
        let turns = vec![asked(opening)];
        Self { api, stream: false, instructions: "be brief".to_owned(), tools: true, turns }
    }

    pub(crate) fn then(mut self, turn: Turn) -> Self {
        self.turns.push(turn);
        self
    }

    /// The same, after an answer and what follows from it.
    pub(crate) fn answered(mut self, answer: &Answer, next: &str) -> Self {
        self.turns.push(Turn::Answered(answer.clone()));
        self.turns.push(if answer.calls.is_empty() {
            asked(next)
        } else {
            let result = |id: &String| (id.clone(), format!("{next} of {id}"));
            Turn::Results(answer.calls.iter().map(result).collect())
        });
        self
    }

    fn body(&self) -> Value {
        let mut items = Vec::new();
        for turn in &self.turns {
            self.items(turn, &mut items);
        }
        let told = &self.instructions;
        let mut body = match self.api {
            Api::Chat => {
                items.insert(0, json!({"role": "system", "content": told}));
                json!({"messages": items})
            }
            Api::Messages => json!({"system": told, "max_tokens": 9, "messages": items}),
            Api::Responses => json!({"instructions": told, "store": false, "input": items}),
        };
        body["model"] = json!("m");
        body["stream"] = json!(self.stream);
        if self.tools {
            body["tools"] = json!([{"type": "function", "name": "look"}]);
        }
        body
    }

    fn items(&self, turn: &Turn, items: &mut Vec<Value>) {
        match (self.api, turn) {
            (_, Turn::Asked(text)) => items.push(json!({"role": "user", "content": text})),
            (Api::Chat, Turn::Answered(answer)) => items.push(chat_message(answer)),
            (Api::Messages, Turn::Answered(answer)) => {
                items.push(json!({"role": "assistant", "content": blocks(answer)}));
            }
            (Api::Responses, Turn::Answered(answer)) => items.extend(output(answer)),
            (Api::Chat, Turn::Results(results)) => items.extend(
                results
                    .iter()
                    .map(|(id, text)| json!({"role": "tool", "tool_call_id": id, "content": text})),
            ),
            (Api::Messages, Turn::Results(results)) => {
                let results = results.iter().map(
                    |(id, text)| json!({"type": "tool_result", "tool_use_id": id, "content": text}),
                );
                let results: Vec<_> = results.collect();
                items.push(json!({"role": "user", "content": results}));
            }
            (Api::Responses, Turn::Results(results)) => {
                items.extend(results.iter().map(|(id, text)| {
                    json!({"type": "function_call_output", "call_id": id, "output": text})
                }));
            }
        }
    }
}

fn chat_message(answer: &Answer) -> Value {
    let calls = answer.calls.iter().map(
        |id| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}}),
    );
    let calls: Vec<_> = calls.collect();
    let mut message = json!({"role": "assistant", "content": answer.text});
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    message
}

fn blocks(answer: &Answer) -> Vec<Value> {
    let text = json!({"type": "text", "text": answer.text});
    let calls = answer.calls.iter();
    let calls = calls.map(|id| json!({"type": "tool_use", "id": id, "name": "look", "input": {}}));
    Some(text).filter(|_| !answer.text.is_empty()).into_iter().chain(calls).collect()
}

fn output(answer: &Answer) -> Vec<Value> {
    let text = json!({"type": "message", "role": "assistant", "id": "msg_1",
        "content": [{"type": "output_text", "text": answer.text, "annotations": []}]});
    let calls = answer.calls.iter().map(
        |id| json!({"type": "function_call", "call_id": id, "name": "look", "arguments": "{}"}),
    );
    Some(text).filter(|_| !answer.text.is_empty()).into_iter().chain(calls).collect()
}

/// The answer as a provider sends it, in pieces.
fn sent(api: Api, stream: bool, answer: &Answer) -> Vec<String> {
    let stop = if answer.calls.is_empty() { "stop" } else { "tool_calls" };
    let reason = if answer.calls.is_empty() { "end_turn" } else { "tool_use" };
    let event = |data: Value| format!("data: {data}\n\n");
    // Not at a character's boundary: an escape or a character may be cut.
    let halves = || {
        let middle = answer.text.char_indices().nth(answer.text.chars().count() / 2);
        answer.text.split_at(middle.map_or(0, |(at, _)| at))
    };
    match (api, stream) {
        (Api::Chat, false) => {
            let choice = json!({"message": chat_message(answer), "finish_reason": stop});
            vec![json!({"id": "chatcmpl-1", "choices": [choice]}).to_string()]
        }
        (Api::Chat, true) => {
            let chunk = |delta: Value, reason: Option<&str>| {
                event(json!({"choices": [{"delta": delta, "finish_reason": reason}]}))
            };
            let (one, other) = halves();
            let mut events = vec![chunk(json!({"role": "assistant", "content": one}), None)];
            events.push(chunk(json!({"content": other}), None));
            events.extend(answer.calls.iter().enumerate().map(|(index, id)| {
                let function = json!({"name": "look", "arguments": ""});
                let call = json!({"index": index, "id": id, "function": function});
                chunk(json!({"tool_calls": [call]}), None)
            }));
            events.extend([chunk(json!({}), Some(stop)), "data: [DONE]\n\n".to_owned()]);
            events
        }
        (Api::Messages, false) => {
            vec![
                json!({"id": "msg_1", "type": "message", "content": blocks(answer),
                "stop_reason": reason})
                .to_string(),
            ]
        }
        (Api::Messages, true) => {
            let mut events = vec![event(json!({"type": "message_start", "message": {}}))];
            if !answer.text.is_empty() {
                let block = json!({"type": "text", "text": ""});
                events.push(event(json!({"type": "content_block_start", "content_block": block})));
                let (one, other) = halves();
                events.extend([one, other].map(|text| {
                    let delta = json!({"type": "text_delta", "text": text});
                    event(json!({"type": "content_block_delta", "delta": delta}))
                }));
            }
            events.extend(answer.calls.iter().map(|id| {
                let block = json!({"type": "tool_use", "id": id, "name": "look", "input": {}});
                event(json!({"type": "content_block_start", "content_block": block}))
            }));
            let delta = json!({"stop_reason": reason});
            events.push(event(json!({"type": "message_delta", "delta": delta})));
            events.push(event(json!({"type": "message_stop"})));
            events
        }
        (Api::Responses, false) => vec![
            json!({"id": "resp_1", "object": "response", "status": "completed",
                "output": output(answer)})
            .to_string(),
        ],
        (Api::Responses, true) => {
            let response = |output: Value, status: &str| json!({"id": "resp_1", "status": status, "output": output});
            let begun = response(json!([]), "in_progress");
            let mut events = vec![event(json!({"type": "response.created", "response": begun}))];
            if !answer.text.is_empty() {
                let delta = json!({"type": "response.output_text.delta", "delta": answer.text});
                events.push(event(delta));
            }
            events.extend(
                output(answer)
                    .into_iter()
                    .map(|item| event(json!({"type": "response.output_item.done", "item": item}))),
            );
            let whole = response(json!(output(answer)), "completed");
            events.push(event(json!({"type": "response.completed", "response": whole})));
            events
        }
    }
}

/// What happens to an answer.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Answers(Answer),
    /// The stream breaks before its end.
    Breaks,
    Fails,
}

type Inner = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, BoxError>;

/// A gateway with a provider that answers what each request wants of it.
#[derive(Clone)]
pub(crate) struct Talks {
    service: Inner,
    pub(crate) store: MemoryStore,
    pub(crate) calls: Calls,
}

/// What the provider knows of a request.
#[derive(Clone)]
struct Wanted(Fate, Api, bool);

impl Talks {
    pub(crate) fn start() -> Self {
        let calls = Calls::default();
        Self::with(calls.router(), calls)
    }

    pub(crate) fn with(router: impl RouterService, calls: Calls) -> Self {
        let store = MemoryStore::default();
        let layer = affinity_layer::AffinityLayer::new(store.clone(), router);
        let service = ServiceBuilder::new()
            .layer(layer.fingerprint(Fingerprint::new("secret")))
            .map_response(|response: Response<_>| response.map(Body::new))
            .layer(AnswerLayer::new())
            .service(service_fn(provide));
        let service = BoxCloneSyncService::new(service.map_err(BoxError::from));
        Self { service, store, calls }
    }

    /// Sends a conversation as it is, and reads the whole answer. Returns its session.
    pub(crate) async fn send(&self, talk: &Talk, answer: &Answer) -> String {
        self.meet(talk, Fate::Answers(answer.clone()), None).await
    }

    /// The same, whatever happens to the answer.
    pub(crate) async fn meet(&self, talk: &Talk, fate: Fate, scope: Option<&str>) -> String {
        let response = self.begin(talk, fate, scope).await;
        let session = header(response.headers(), "session").to_owned();
        let _ = response.into_body().collect().await;
        // What is written after a lost answer is written by tasks.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        session
    }

    /// The response, of which nothing has been read.
    pub(crate) async fn begin(
        &self,
        talk: &Talk,
        fate: Fate,
        scope: Option<&str>,
    ) -> Response<Body> {
        let path = match talk.api {
            Api::Chat => "/v1/chat/completions",
            Api::Messages => "/v1/messages",
            Api::Responses => "/v1/responses",
        };
        let mut request = Request::post(path).body(Full::from(talk.body().to_string())).unwrap();
        request.extensions_mut().insert(Wanted(fate, talk.api, talk.stream));
        if let Some(scope) = scope {
            request.extensions_mut().insert(Scope::new(scope).unwrap());
        }
        self.service.clone().oneshot(request).await.unwrap()
    }
}

async fn provide(request: Request<Full<Bytes>>) -> Result<Response<Body>, Infallible> {
    let model = request.extensions().get::<PinnedModel>().unwrap();
    let session = model.key().map_or("none", |key| key.session()).to_owned();
    let Wanted(fate, api, stream) = request.extensions().get::<Wanted>().unwrap().clone();
    let kind = if stream { "text/event-stream" } else { "application/json" };
    let response = Response::builder().header("content-type", kind).header("session", session);
    let breaks = matches!(fate, Fate::Breaks);
    let pieces = match fate {
        Fate::Answers(answer) => sent(api, stream, &answer),
        Fate::Breaks => vec!["data: {\"cho".to_owned()],
        Fate::Fails => return Ok(response.status(500).body(Body::from("{}")).unwrap()),
    };
    let mut frames: Vec<Result<Bytes, BoxError>> = Vec::new();
    for piece in pieces {
        // Cut where no boundary is.
        let bytes = Bytes::from(piece);
        let at = bytes.len() * 2 / 3;
        frames.extend([Ok(bytes.slice(..at)), Ok(bytes.slice(at..))]);
    }
    if breaks {
        frames.push(Err("broken".into()));
    }
    Ok(response.body(Body::from_stream(tokio_stream::iter(frames))).unwrap())
}
