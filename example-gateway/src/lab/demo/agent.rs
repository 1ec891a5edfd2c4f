//! The agent of the demo: it chooses a database for a shop by calling tools in a loop.

use affinity_layer::answer::AnswerReader;
use http::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

use super::tools;
use crate::lab::client::{Answer, ClientError, GatewayClient};
use crate::lab::term::clean;
use crate::prices::TokenCounts;

/// The user's question.
pub const TASK: &str = "\
Should our e-commerce platform use PostgreSQL or MongoDB? Begin with code: generate benchmark \
functions for both databases, based on our requirements.";

/// What the user says after each round of tool results. The intents alternate, as the steps of a
/// real task do, so that a router that looks at the last message changes its mind.
const INSTRUCTIONS: [&str; 2] = [
    "Now give a detailed, multi-step analysis: explain the trade-offs that these results show.",
    "Now generate the code: the schema and the functions that our requirements ask for.",
];

const SYSTEM: &str = "\
You are a database architect. Use the tools to gather benchmarks, case studies and feature \
support, then recommend one database and say why.";

/// The requested model; a routing gateway chooses another.
const REQUESTED_MODEL: &str = "gpt-4o-mini";

/// One agentic loop with its message history.
#[derive(Debug)]
pub struct Agent {
    gateways: Vec<GatewayClient>,
    headers: HeaderMap,
    messages: Vec<Value>,
    /// Keeps what the provider caches of one run apart from another's.
    user: String,
    turns: usize,
}

/// What one call of the model gave.
#[derive(Debug)]
pub struct Turn {
    /// The model that the gateway says it selected.
    pub model: String,
    /// The model that the answer itself names.
    pub answered_by: String,
    /// Whether the gateway says that the model came from a pin.
    pub pinned: bool,
    /// The replica that answered, when a load balancer says so.
    pub replica: Option<String>,
    /// The tokens that the answer reports.
    pub tokens: TokenCounts,
    /// What the model wants.
    pub step: Step,
}

/// What the model wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// These tools called; their results are in the history already.
    Tools(Vec<String>),
    /// Nothing more: this is the answer.
    Answer(String),
}

impl Agent {
    /// An agent that sends `headers` with every call and works on `messages`; its calls go over
    /// `gateways` in turn.
    #[must_use]
    pub fn new(gateways: Vec<GatewayClient>, headers: HeaderMap, messages: Vec<Value>) -> Self {
        let system = json!({"role": "system", "content": SYSTEM});
        let messages = std::iter::once(system).chain(messages).collect();
        Self { gateways, headers, messages, user: Uuid::new_v4().to_string(), turns: 0 }
    }

    /// Calls the model once, and the tools that it wants.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when the gateway gives no usable answer.
    pub async fn turn(&mut self) -> Result<Turn, ClientError> {
        let request = json!({
            "model": REQUESTED_MODEL,
            "user": self.user,
            "messages": self.messages,
            "tools": tools::definitions(),
        });
        let next = self.gateways.get(self.turns % self.gateways.len().max(1));
        let gateway = next.ok_or_else(|| ClientError::Url(String::new()))?;
        let answer = gateway.chat(&self.headers, &request).await?;
        let step = self.take(&answer)?;
        self.turns += 1;
        Ok(Turn {
            model: answer.model(),
            answered_by: answer.body_model(),
            pinned: answer.pinned() == Some(true),
            replica: answer.replica(),
            tokens: tokens(&answer.body),
            step,
        })
    }

    /// Adds the answer to the history, and the results of the tools it calls.
    fn take(&mut self, answer: &Answer) -> Result<Step, ClientError> {
        let message = answer.body.pointer("/choices/0/message").filter(|m| m.is_object());
        let message = message.ok_or_else(|| ClientError::Body("it has no message".to_owned()))?;
        self.messages.push(message.clone());
        let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
        if calls.is_empty() {
            return Ok(Step::Answer(clean(message["content"].as_str().unwrap_or_default())));
        }
        let mut names = Vec::new();
        for call in calls {
            let [name, arguments] = ["/function/name", "/function/arguments"]
                .map(|at| call.pointer(at).and_then(Value::as_str).unwrap_or_default());
            let result = tools::call(name, arguments).to_string();
            self.messages
                .push(json!({"role": "tool", "tool_call_id": call["id"], "content": result}));
            names.push(clean(name));
        }
        let instruction = INSTRUCTIONS.get(self.turns % INSTRUCTIONS.len());
        self.messages.push(json!({"role": "user", "content": instruction}));
        Ok(Step::Tools(names))
    }
}

fn tokens(answer: &Value) -> TokenCounts {
    let usage = AnswerReader::new("application/json").map(|mut reader| {
        reader.feed(json!({"usage": answer["usage"]}).to_string().as_bytes());
        reader.usage()
    });
    usage.unwrap_or_default().into()
}
