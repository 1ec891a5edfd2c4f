//! A request and its answer, free of any protocol.

use std::time::{SystemTime, UNIX_EPOCH};

use affinity_layer::ModelName;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cache::Cached;
use super::error::Failure;
use super::fields::{at, items};

/// What a request says that the answer depends on.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) model: String,
    pub(super) stream: bool,
    /// The text of the last user message that has any.
    pub(super) last_user: String,
    pub(super) tools: Vec<Tool>,
    /// How often results of tool calls came back so far.
    pub(super) rounds: usize,
    pub(super) choice: Choice,
    /// Whether one answer may hold several tool calls.
    pub(super) parallel: bool,
    pub(super) format: Format,
}

/// A tool that the model may call.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) schema: Value,
}

impl Tool {
    /// A function named in `tool`, its schema under `schema`; `None` for the provider's own tools,
    /// which have no name to call.
    pub(super) fn read(tool: &Value, schema: &str) -> Option<Self> {
        let name = tool["name"].as_str()?.to_owned();
        let schema = tool.get(schema).cloned().unwrap_or_else(|| json!({"type": "object"}));
        Some(Self { name, schema })
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Choice {
    Auto,
    Never,
    Forced(String),
}

impl Choice {
    /// Reads `tool_choice`, which the protocols spell as a string or an object with a name.
    pub(super) fn read(value: &Value) -> Self {
        let kind = value.as_str().or_else(|| value["type"].as_str());
        let name = at(value, "/function/name").as_str().or_else(|| value["name"].as_str());
        match (kind, name) {
            (Some("none"), _) => Self::Never,
            (_, Some(name)) => Self::Forced(name.to_owned()),
            _ => Self::Auto,
        }
    }
}

/// What a final answer must look like.
#[derive(Debug, PartialEq)]
pub(super) enum Format {
    Text,
    Json,
    Schema(Value),
}

impl Format {
    /// Reads a format of the kinds `json_schema`, with the schema in the field or one below it,
    /// and `json_object`.
    pub(super) fn read(format: &Value) -> Self {
        let schema = [at(format, "/json_schema/schema"), &format["schema"]];
        match (format["type"].as_str(), schema.into_iter().find(|schema| schema.is_object())) {
            (Some("json_schema"), Some(schema)) => Self::Schema(schema.clone()),
            (Some("json_schema" | "json_object"), _) => Self::Json,
            _ => Self::Text,
        }
    }
}

/// What the model says.
#[derive(Debug)]
pub(super) enum Reply {
    Text(String),
    Calls(Vec<Call>),
}

#[derive(Debug)]
pub(super) struct Call {
    /// Unique, without the prefix that a protocol puts before it.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Value,
}

impl Call {
    pub(super) fn new(name: &str, arguments: Value) -> Self {
        Self { id: unique(), name: name.to_owned(), arguments }
    }
}

/// One answer, ready to be put into the shape of a protocol.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) request: Value,
    pub(super) conversation: Conversation,
    pub(super) reply: Reply,
    pub(super) id: String,
    /// Unix time in seconds.
    pub(super) created: u64,
    pub(super) tokens: Tokens,
}

/// What an answer costs, in tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens {
    /// The whole prompt.
    pub(super) prompt: usize,
    /// The part of it that was in the cache.
    pub(super) cached: usize,
    /// Of it, what came into the cache.
    pub(super) written: usize,
    pub(super) output: usize,
}

impl Answer {
    pub(super) fn new(
        request: Value,
        conversation: Conversation,
        reply: Reply,
        request_bytes: usize,
        cached: Cached,
    ) -> Self {
        let reply_bytes = match &reply {
            Reply::Text(text) => text.len(),
            Reply::Calls(calls) => {
                calls.iter().map(|call| call.name.len() + call.arguments.to_string().len()).sum()
            }
        };
        Self {
            request,
            conversation,
            reply,
            id: unique(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            tokens: Tokens::of(request_bytes, cached, reply_bytes),
        }
    }
}

impl Tokens {
    fn of(prompt: usize, cached: Cached, output: usize) -> Self {
        let prompt = tokens(prompt);
        // The parts of a prompt may be larger than it was, escaped as it came.
        let read = tokens(cached.read).min(prompt);
        let written = tokens(cached.written).min(prompt - read);
        Self { prompt, cached: read, written, output: tokens(output) }
    }
}

/// An estimate: four bytes a token.
pub(super) fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(4)
}

fn unique() -> String {
    Uuid::new_v4().simple().to_string()
}

/// The text of a message's content: a string, or parts of which some hold text.
pub(super) fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        parts => items(parts).iter().filter_map(|part| part["text"].as_str()).collect(),
    }
}

/// The text of the last user message among `messages` that has any.
pub(super) fn last_user(messages: &[Value]) -> String {
    let users = messages.iter().rev().filter(|message| message["role"] == "user");
    users.map(|message| text(&message["content"])).find(|text| !text.is_empty()).unwrap_or_default()
}

/// How many runs of results there are: the results of one answer's calls are adjacent.
pub(super) fn runs(messages: &[Value], is_result: impl Fn(&Value) -> bool) -> usize {
    let mut results = messages.iter().map(is_result).collect::<Vec<_>>();
    results.dedup();
    results.into_iter().filter(|result| *result).count()
}

pub(super) fn model(request: &Value) -> Result<String, Failure> {
    match request["model"].as_str() {
        Some("") | None => Err(Failure::missing("model")),
        Some(model) if model.len() > ModelName::MAX_LEN => {
            Err(Failure::invalid("the name of the model is too long", Some("model")))
        }
        Some(model) => Ok(model.to_owned()),
    }
}

pub(super) fn messages(request: &Value) -> Result<&[Value], Failure> {
    request["messages"].as_array().map(Vec::as_slice).ok_or(Failure::missing("messages"))
}
