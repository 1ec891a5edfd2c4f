//! What the model says next: tool calls for a few rounds, then a final answer.

use serde_json::{Value, json};

use super::conversation::{Call, Choice, Conversation, Format, Reply, Tool};
use super::schema;

/// Rounds of tool calls before the final answer.
const TOOL_ROUNDS: usize = 3;

/// Characters of the user's message that a text answer quotes.
const QUOTE: usize = 120;

const DEMO_TOOLS: [&str; TOOL_ROUNDS] =
    ["get_db_benchmarks", "get_case_studies", "check_feature_support"];

/// The end of the demo's conversation.
const RECOMMENDATION: &str = "\
RECOMMENDATION: PostgreSQL.

Benchmarks: with checkout traffic, PostgreSQL keeps multi-row
transactions correct at a throughput the shop will not reach for
years; MongoDB is faster on single-document reads only.

Case studies: shops of this kind run orders, stock and payments on
PostgreSQL; the document-store examples are catalogues, not ledgers.

Features: ACID across tables, foreign keys and JSONB cover both the
ledger and the flexible product catalogue in one system.";

pub(super) fn reply(conversation: &Conversation) -> Reply {
    let mut calls = calls(conversation);
    if !conversation.parallel {
        calls.truncate(1);
    }
    if calls.is_empty() { Reply::Text(text(conversation)) } else { Reply::Calls(calls) }
}

/// The calls of this round, none when it is time for text.
fn calls(conversation: &Conversation) -> Vec<Call> {
    let Conversation { tools, rounds, choice, .. } = conversation;
    match choice {
        Choice::Never => Vec::new(),
        Choice::Forced(name) if *rounds == 0 => {
            tools.iter().find(|tool| tool.name == *name).map(synthesised).into_iter().collect()
        }
        Choice::Forced(_) => Vec::new(),
        Choice::Auto if *rounds >= TOOL_ROUNDS => Vec::new(),
        Choice::Auto if is_demo(tools) => demo_calls(tools, *rounds),
        Choice::Auto => tools.iter().cycle().nth(*rounds).map(synthesised).into_iter().collect(),
    }
}

fn synthesised(tool: &Tool) -> Call {
    Call::new(&tool.name, schema::example(&tool.schema))
}

fn is_demo(tools: &[Tool]) -> bool {
    DEMO_TOOLS.iter().all(|name| tools.iter().any(|tool| tool.name == *name))
}

/// The calls of the demo's script. Its agents differ in what else their tools require, which is filled in.
fn demo_calls(tools: &[Tool], round: usize) -> Vec<Call> {
    let scripted = match round {
        0 | 1 => vec![json!({"database": "postgresql"}), json!({"database": "mongodb"})],
        _ => vec![json!({"database": "postgresql", "feature": "acid_transactions"})],
    };
    let name = DEMO_TOOLS.get(round);
    let Some(tool) = name.and_then(|name| tools.iter().find(|tool| tool.name == *name)) else {
        return Vec::new();
    };
    let call = |scripted: Value| {
        let mut arguments = schema::example(&tool.schema);
        match (arguments.as_object_mut(), scripted) {
            (Some(arguments), Value::Object(scripted)) => arguments.extend(scripted),
            (_, scripted) => arguments = scripted,
        }
        Call::new(&tool.name, arguments)
    };
    scripted.into_iter().map(call).collect()
}

fn text(conversation: &Conversation) -> String {
    match &conversation.format {
        Format::Schema(schema) => schema::example(schema).to_string(),
        Format::Json => json!({"answer": quote(&conversation.last_user)}).to_string(),
        Format::Text if is_demo(&conversation.tools) => RECOMMENDATION.to_owned(),
        Format::Text => {
            format!("This is a simulated answer to: {}", quote(&conversation.last_user))
        }
    }
}

fn quote(text: &str) -> Value {
    let mut quote = text.chars().take(QUOTE).collect::<String>();
    if quote.len() < text.len() {
        quote.push('…');
    }
    Value::String(quote)
}
