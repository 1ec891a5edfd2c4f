use http::Response;

use crate::answer::Beginning::{self, Error, Open, Served};
use crate::answer::BeginningReader;

/// What an answer begins with, which must be the same however it is cut; and after how many bytes
/// that is known.
#[track_caller]
fn begins(fields: &[(&str, &str)], body: &str) -> (Beginning, usize) {
    let mut response = Response::builder();
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    let head = response.body(()).unwrap().into_parts().0;
    let mut found = Open;
    let mut known = BeginningReader::new(&head);
    let after = body.bytes().position(|byte| {
        found = known.feed(&[byte]);
        found != Open
    });
    for at in 0..=body.len() {
        let (begin, end) = body.as_bytes().split_at(at);
        let mut reader = BeginningReader::new(&head);
        reader.feed(begin);
        assert_eq!(reader.feed(end), found, "cut at {at}: {body}");
    }
    (found, after.map_or(body.len(), |at| at + 1))
}

fn stream(body: &str) -> Beginning {
    begins(&[("content-type", "text/event-stream; charset=utf-8")], body).0
}

fn plain(body: &str) -> Beginning {
    begins(&[("content-type", "application/json")], body).0
}

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":\
    [],\"stop_reason\":null,\"usage\":{\"input_tokens\":3}}}\n\n";
const CREATED: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":\
    {\"status\":\"in_progress\",\"error\":null,\"output\":[],\"tools\":[{\"type\":\"function\"}]}}\n\n\
    data: {\"response\":{\"error\":null},\"type\":\"response.in_progress\"}\n\n";

#[test]
fn a_stream_that_only_opens_has_not_begun() {
    let ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    for body in [
        "",
        "\n\n \n",
        ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n",
        "event: message\nid: 1\nretry: 5\n\n",
        START,
        ping,
        CREATED,
        &format!("{START}{ping}{ping}"),
        "data: {\"type\":\"response.queued\",\"response\":{}}\n\n",
        "data:\n\ndata:  \n\n",
        "data: [DONE]\n\n",
        "data: [DONE]\n\ndata: {\"choices\":[{}]}\n\n",
        "data: {\"choices\":[{\"delta\":{",
    ] {
        assert_eq!(stream(body), Open, "{body}");
    }
}

#[test]
fn a_stream_begins_with_its_first_event_of_an_answer() {
    for event in [
        r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"id":"x","error":null,"choices":[]}"#,
        r#"{"error":"","choices":[{"delta":{}}]}"#,
        r#"{"choices":[{"delta":{"content":"{\"error\":{}}"},"error":{}}]}"#,
        r#"{"type":"content_block_start","content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","delta":{"text":"error"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"refusal"}}"#,
        r#"{"type":"response.output_item.added","item":{"type":"message"}}"#,
        r#"{"type":"response.incomplete","response":{"error":null}}"#,
        "[1]",
        "plain text",
    ] {
        for before in ["", ": comment\n\n", START, CREATED] {
            assert_eq!(stream(&format!("{before}data: {event}\n\n")), Served, "{event}");
        }
    }
}

#[test]
fn a_stream_may_begin_with_an_error() {
    for event in [
        r#"{"error":{"message":"overloaded","code":503}}"#,
        r#"{"id":"x","choices":[],"error":{"code":"server_error"}}"#,
        r#"{"error":"model not found"}"#,
        r#"{"error":429}"#,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        r#"{"type":"error","code":"rate_limit_exceeded","message":"x"}"#,
        r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"x"}}}"#,
        r#"{"object":"error","message":"x","code":400}"#,
        r#"[{"error":{"code":500}}]"#,
    ] {
        for before in ["", ": comment\n\n", START, CREATED] {
            assert_eq!(stream(&format!("{before}event: x\ndata: {event}\n\n")), Error, "{event}");
        }
        let later = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
        assert_eq!(stream(&format!("{later}data: {event}\n\n")), Served, "it had begun");
    }
}

#[test]
fn a_plain_answer_is_an_error_or_none() {
    for (body, found) in [
        ("", Open),
        (" \r\n\t", Open),
        ("{", Open),
        (r#"{"id":"x","choices":["#, Open),
        (r#"{"id":"x","object":"response","status":"failed","error":null"#, Open),
        (r#"{"error":{"message":"x"}}"#, Error),
        (r#"{"error":"x"}"#, Error),
        (r#" {"type":"error","error":{"type":"api_error"}}"#, Error),
        (r#"{"object":"error","message":"x"}"#, Error),
        (r#"[{"error":{"code":500}}]"#, Error),
        (r#"{"id":"x","object":"response","status":"failed","error":{"code":"x"}}"#, Error),
        (r#"{"id":"x","error":null,"choices":[{"#, Served),
        (r#"{"type":"message","content":[{"type":"text","text":"error"}]}"#, Served),
        (r#"{"object":"response","error":null,"output":[{"type":"message"}]}"#, Served),
        (r#"{"type":"ping"}"#, Served),
        (r#"{"input_tokens":7}"#, Served),
        (r#"{"message":{"error":{}},"usage":{"error":1}}"#, Served),
        ("null", Served),
        ("\"text\"", Served),
        ("<html>", Served),
    ] {
        assert_eq!(plain(body), found, "{body}");
    }
}

#[test]
fn it_is_known_with_the_byte_that_shows_it() {
    let json = [("content-type", "application/json")];
    let (before, after) = (r#"{"choices":[{"#, r#""message":{}}]}"#);
    assert_eq!(begins(&json, &format!("{before}{after}")), (Served, before.len()));
    let sse = [("content-type", "text/event-stream")];
    for event in [r#"data: {"choices":[]}"#, "data: a"] {
        assert_eq!(begins(&sse, &format!("{event}\n\n")), (Served, event.len()), "{event}");
    }
}

#[test]
fn of_a_body_that_cannot_be_read_the_first_byte_counts() {
    let compressed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    for fields in [&compressed[..], &[("content-type", "text/html")], &[]] {
        assert_eq!(begins(fields, ""), (Open, 0));
        assert_eq!(begins(fields, "{\"error\":{}}"), (Served, 1));
    }
}
