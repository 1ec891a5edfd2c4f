//! Request bodies as agents send them, and what it takes to read one.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use example_gateway::body::Envelope;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::connection::micros;
use super::process;

/// A conversation of about `bytes` bytes: prose, code with its quotes and line ends, calls of tools
/// and their results. The model is at the end, where the SDKs put it.
#[must_use]
pub(super) fn conversation(bytes: usize) -> String {
    let turns = [
        json!({"role": "user", "content": "Which database suits a shop with 2,000,000 orders a month? Compare PostgreSQL and MongoDB; the team knows SQL, and reports run every night."}),
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_5f2b", "type": "function", "function": {"name": "get_db_benchmarks", "arguments": "{\"engines\":[\"postgresql\",\"mongodb\"],\"rows\":2000000}"}}]}),
        json!({"role": "tool", "tool_call_id": "call_5f2b", "content": "engine\tinserts/s\tp99 ms\npostgresql\t41,200\t3.1\nmongodb\t52,800\t4.7\n"}),
        json!({"role": "assistant", "content": "The figures are close. I read the schema first:\n\n```sql\nCREATE TABLE orders (\n    id bigint PRIMARY KEY,\n    customer_id bigint NOT NULL REFERENCES customers (id),\n    state text CHECK (state IN ('open', 'paid', 'sent')),\n    created_at timestamptz NOT NULL DEFAULT now()\n);\n```\n\nAn index on (customer_id, created_at) covers the nightly report, and \"state\" needs a partial one. Documents would repeat the customer in every order, so each change of an address touches many of them. The transactions over orders and stock are what decides here: both must change together or not at all."}),
    ];
    let mut body = r#"{"messages":[{"role":"system","content":"You help to choose."}"#.to_owned();
    let tail = r#"],"temperature":0.2,"model":"gpt-4o"}"#;
    for turn in turns.iter().cycle() {
        let turn = turn.to_string();
        if body.len() + turn.len() + tail.len() > bytes {
            break;
        }
        let _ = write!(body, ",{turn}");
    }
    // The rest is one message, so that the length is what was asked for.
    let rest = r#",{"role":"user","content":""}"#.len() + body.len() + tail.len();
    let filler = "and so on ".chars().cycle().take(bytes.saturating_sub(rest));
    let _ = write!(body, r#",{{"role":"user","content":"{}"}}"#, filler.collect::<String>());
    body + tail
}

/// What it takes to check a body, find its model and replace it, in pairs with a full parse.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) bytes: usize,
    /// Microseconds of ours, and of `serde_json::Value`.
    pub(super) pairs: Vec<(f64, f64)>,
}

pub(super) fn reading(bytes: usize, pairs: usize, span: Duration) -> Reading {
    let body = Bytes::from(conversation(bytes));
    let ours = || {
        let envelope = Envelope::parse(body.clone()).expect("a conversation is an object");
        black_box(envelope.for_model("gpt-4o-mini"));
    };
    let serde = || {
        black_box(serde_json::from_slice::<Value>(&body).expect("a conversation is JSON"));
    };
    let pairs = (0..pairs).map(|_| (each(span, ours), each(span, serde)));
    Reading { bytes, pairs: pairs.collect() }
}

/// Microseconds of processor time of one call, over many within `span`.
fn each(span: Duration, work: impl Fn()) -> f64 {
    let (started, before) = (Instant::now(), process::cpu(std::process::id()));
    let mut calls = 0_u32;
    while started.elapsed() < span {
        for _ in 0..16 {
            work();
        }
        calls += 16;
    }
    micros(process::cpu(std::process::id()) - before) / f64::from(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_as_long_as_asked_for() {
        for bytes in [1 << 10, 32 << 10, 256 << 10] {
            let body = conversation(bytes);
            assert_eq!(body.len(), bytes);
            let json: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(json["model"], "gpt-4o");
        }
    }
}
