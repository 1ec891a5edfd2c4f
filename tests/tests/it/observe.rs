//! Observed sessions are answered as if they had none: the same bytes to the client and to the providers.

use affinity_tests::{
    Answer, Connection, ModelRouter, Request, Response, Seen, Setup, Upstream, ok_json, post,
};
use serde_json::{Value, json};

/// The turns of a recorded loop over one protocol. Each brings the whole conversation so far, with blocks
/// that only the vendor of the first answer can read.
struct Recorded {
    path: &'static str,
    /// The first members of the body.
    head: &'static str,
    /// What each turn adds to the conversation.
    turns: [&'static str; 4],
}

const LOOPS: [Recorded; 3] = [
    Recorded {
        path: "/v1/chat/completions",
        head: r#""tools":[{"type":"function","function":{"name":"ls","parameters":{"type":"object"}}}] , "messages":["#,
        turns: [
            r#"{"role":"system","content":"be\u0020brief"}, {"role":"user","content":"fix the code"}"#,
            r#",{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"ls","arguments":"{}"},"extra_content":{"google":{"thought_signature":"made-by-openai"}}}]},{"role":"tool","tool_call_id":"c1","content":"caf\u00e9"}"#,
            r#",{"role":"assistant","content":null,"tool_calls":[{"id":"c2","type":"function","function":{"name":"ls","arguments":"{ }"}}]}, {"role":"tool","tool_call_id":"c2","content":"fail once"}"#,
            r#",{"role":"assistant","content":"done"},{"role":"user","content":"and now the tests"}"#,
        ],
    },
    Recorded {
        path: "/v1/messages",
        head: r#""system":"be brief","tools":[{"name":"ls","input_schema":{"type":"object"}}],"thinking":{"type":"enabled","budget_tokens":1024},"messages":[ "#,
        turns: [
            r#"{"role":"user","content":"fix the code"}"#,
            r#",{"role":"assistant","content":[{"type":"thinking","thinking":"h\u006d","signature":"made-by-openai"}, {"type":"tool_use","id":"t1","name":"ls","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"caf\u00e9"}]}"#,
            r#",{"role":"assistant","content":[{"type":"tool_use","id":"t2","name":"ls","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t2","content":"fail once"}]}"#,
            r#",{"role":"assistant","content":[{"type":"text","text":"done"}]},{"role":"user","content":"and now the tests"}"#,
        ],
    },
    Recorded {
        path: "/v1/responses",
        head: r#""store":false,"tools":[{"type":"function","name":"ls","parameters":{"type":"object"}}],"input":["#,
        turns: [
            r#"{"role":"user","content":"fix the code"}"#,
            r#" , {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"made-by-openai"},{"type":"function_call","id":"fc_1","call_id":"c1","name":"ls","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"caf\u00e9"}"#,
            r#",{"type":"function_call","call_id":"c2","name":"ls","arguments":"{}"},{"type":"function_call_output","call_id":"c2","output":"fail once"}"#,
            r#",{"role":"assistant","content":"done"},{"role":"user","content":"and now the tests"}"#,
        ],
    },
];

/// The recorded requests in their order, each with its session: every loop plain and streamed, and in between
/// what is only counted and what is refused.
fn traffic() -> Vec<(String, Request)> {
    let mut requests = Vec::new();
    for (round, stream) in [false, true, true, false].into_iter().enumerate() {
        for (number, Recorded { path, head, turns }) in LOOPS.iter().enumerate() {
            let session = format!("loop-{number}-{round}");
            let model = if round == 3 { "openai/gpt-4o-mini" } else { "auto" };
            // Loops of even and odd lengths, so that the router's choices meet the turns differently.
            for last in 0..turns.len() - round % 2 {
                let conversation = turns[..=last].concat();
                let start = format!(r#"{{"model": "{model}","stream":{stream},"max_tokens":2048,"#);
                let body = format!("{start}{head}{conversation}]}}");
                requests.push((session.clone(), post(path, &body)));
                if last == 1 && *path == "/v1/messages" {
                    let path = "/v1/messages/count_tokens?beta=true";
                    requests.push((session.clone(), post(path, &body)));
                }
            }
            requests.push((session.clone(), post(path, r#"{"model":"openai/unheard-of"}"#)));
            requests.push((session, post(path, "{")));
        }
    }
    requests
}

/// Answers as the vendor of the model would, and always alike: with a call of a tool and then with text; it
/// refuses the blocks of the other vendor, and one vendor fails where it is told to.
fn answer(seen: &Seen) -> Answer {
    let (body, text) = (seen.json(), String::from_utf8_lossy(&seen.body).into_owned());
    let model = body["model"].as_str().unwrap().to_owned();
    let is_anthropic = model.starts_with("claude");
    if is_anthropic && text.contains("made-by-openai") {
        let error = "messages.1.content.0: Invalid `signature` in `thinking` block";
        return plain("400 Bad Request", &json!({"error": {"message": error}}));
    }
    if is_anthropic && text.contains("fail once\"") && !text.contains("done") {
        return plain("503 Service Unavailable", &json!({"error": {"message": "away"}}));
    }
    let id = format!("id-{}", seen.body.len());
    if body["stream"] != true {
        return plain(
            "200 OK",
            &json!({"id": id, "model": model, "usage": {"total_tokens": text.len()}}),
        );
    }
    let events = [
        json!({"id": id, "type": "x", "choices": [{"delta": {"content": "a"}}]}),
        json!({"type": "y", "choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "ls"}}]}}]}),
        json!({"type": "z", "model": model}),
    ];
    let mut answer = head("200 OK", "text/event-stream") + "transfer-encoding: chunked\r\n\r\n";
    for event in events.map(|event| format!("event: e\ndata:  {event}\n\n")) {
        answer += &format!("{:x}\r\n{event}\r\n", event.len());
    }
    Answer::Bytes((answer + "0\r\n\r\n").into_bytes())
}

/// The date is the provider's, so that no answer differs by that of the gateway.
fn head(status: &str, kind: &str) -> String {
    let date = "Mon, 30 Nov 2026 12:00:00 GMT";
    format!("HTTP/1.1 {status}\r\ndate: {date}\r\ncontent-type: {kind}\r\nrequest-id: r\r\n")
}

fn plain(status: &str, body: &Value) -> Answer {
    let Answer::Bytes(whole) = ok_json(body) else { unreachable!() };
    let at = whole.windows(14).position(|part| part == b"content-length").unwrap();
    Answer::Bytes([head(status, "application/json").as_bytes(), &whole[at..]].concat())
}

/// What the client and the providers have seen of the traffic.
struct Course {
    answers: Vec<Response>,
    sent: Vec<Seen>,
    asked: Vec<Vec<u8>>,
}

impl Course {
    /// At a gateway of its own, with its own providers and its own routing model.
    async fn of(mode: &str, marked: impl Fn(Request, &str) -> Request) -> Self {
        let (upstream, router) = (Upstream::start(answer).await, ModelRouter::start().await);
        let setup = Setup::routed(&upstream, &router)
            .provider("protocols: [chat, messages, responses]")
            .routing(&format!("mode: {mode}"));
        let gateway = setup.start().await;
        let mut client = Connection::open(gateway.address()).await;
        let mut answers = Vec::new();
        for (session, request) in traffic() {
            answers.push(client.ask(&marked(request, &session)).await);
        }
        let asked = router.upstream().seen().into_iter().map(|seen| seen.body).collect();
        Self { answers, sent: upstream.seen(), asked }
    }

    /// The same without the headers of the layer, the port of the provider and the name of the session.
    fn plain(mut self) -> Self {
        for answer in &mut self.answers {
            // The gateway's own answers have its date.
            answer.fields.retain(|(name, _)| !name.starts_with("x-plano-") && name != "date");
        }
        for sent in &mut self.sent {
            sent.fields.retain(|(name, _)| name != "host" && name != "x-model-affinity");
        }
        self
    }

    fn assert_is(&self, other: &Self, which: &str) {
        assert_eq!(self.asked.len(), other.asked.len(), "{which}: calls of the router");
        assert_eq!(self.asked, other.asked, "{which}");
        for (number, (ours, theirs)) in self.sent.iter().zip(&other.sent).enumerate() {
            assert_eq!(ours.line, theirs.line, "{which}: {number}");
            assert_eq!(ours.fields, theirs.fields, "{which}: {number}");
            let [ours, theirs] = [ours, theirs].map(|sent| String::from_utf8_lossy(&sent.body));
            assert_eq!(ours, theirs, "{which}: {number}");
        }
        assert_eq!(self.sent.len(), other.sent.len(), "{which}: calls of providers");
        for (number, (ours, theirs)) in self.answers.iter().zip(&other.answers).enumerate() {
            assert_eq!(
                (ours.status, &ours.fields, ours.text(), ours.complete),
                (theirs.status, &theirs.fields, theirs.text(), theirs.complete),
                "{which}: {number}"
            );
        }
        assert_eq!(self.answers.len(), other.answers.len());
    }
}

#[tokio::test]
async fn an_observed_session_is_answered_byte_for_byte_as_if_it_had_none() {
    let observed = Course::of("observe", |request, session| request.session(session)).await;
    let count = |status| observed.answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(200), count(400), count(404)), (46, 12, 12), "the traffic is what it is");
    let told: Vec<_> = observed.answers.iter().map(Response::affinity).collect();
    assert!(told.iter().all(|(pinned, ..)| *pinned != "true"));
    assert_eq!(told.iter().filter(|(_, why, _)| *why == "observed").count(), 42, "{told:?}");
    let failed = observed.sent.iter().filter(|sent| {
        let Answer::Bytes(bytes) = answer(sent) else { unreachable!() };
        !bytes.starts_with(b"HTTP/1.1 200")
    });
    assert!(failed.count() >= 8, "the traffic meets refusals and failures");

    let observed = observed.plain();
    let without = Course::of("enforce", |request, _| request).await.plain();
    observed.assert_is(&without, "without a session");
    let bypass = Course::of("enforce", |request, session| {
        request.session(session).header("x-plano-affinity", "bypass")
    });
    observed.assert_is(&bypass.await.plain(), "bypass");
}
