use http::Response;

use crate::answer::{AnswerReader, Usage};

const STREAM: &str = "text/event-stream";

fn read(content_type: &str, body: &str) -> [Option<u64>; 3] {
    let mut reader = AnswerReader::new(content_type).unwrap();
    reader.feed(body.as_bytes());
    let Usage { prompt_tokens, cached_tokens, output_tokens, .. } = reader.usage();
    [prompt_tokens, cached_tokens, output_tokens]
}

fn plain(body: &str) -> [Option<u64>; 3] {
    read("application/json; charset=utf-8", body)
}

fn stream(events: &[&str]) -> [Option<u64>; 3] {
    let events = events.iter().map(|data| data.replace('\n', " "));
    let events = events.map(|data| format!("event: x\ndata: {data}\n\n"));
    read(STREAM, &events.collect::<String>())
}

#[test]
fn chat_completions() {
    let usage = r#"{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,
        "prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":7},
        "completion_tokens_details":{"reasoning_tokens":128}}"#;
    let all = [Some(2006), Some(1920), Some(300)];
    assert_eq!(plain(&format!(r#"{{"choices":[{{"usage":1}}],"usage":{usage}}}"#)), all);
    let chunk = r#"{"choices":[{"delta":{"content":"\"usage\":{"}}],"usage":null}"#;
    let last = format!(r#"{{"choices":[],"usage":{usage}}}"#);
    assert_eq!(stream(&[chunk, chunk, &last, "[DONE]"]), all);
    assert_eq!(stream(&[chunk, chunk, "[DONE]"]), [None; 3], "nobody asked for it");
    assert_eq!(plain(r#"{"usage":{"prompt_tokens":7}}"#), [Some(7), None, None]);
}

#[test]
fn messages_leave_the_cache_out_of_their_input() {
    let usage = r#"{"input_tokens":21,"cache_creation_input_tokens":188,
        "cache_read_input_tokens":1800,"output_tokens":393,
        "cache_creation":{"ephemeral_5m_input_tokens":188}}"#;
    let sum = Some(21 + 188 + 1800);
    assert_eq!(plain(&format!(r#"{{"usage":{usage}}}"#)), [sum, Some(1800), Some(393)]);
    let start = format!(
        r#"{{"type":"message_start","message":{{"content":[],"usage":{}}}}}"#,
        usage.replace("393", "1")
    );
    let end = r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":15}}"#;
    assert_eq!(stream(&[&start, end]), [sum, Some(1800), Some(15)]);
    assert_eq!(stream(&[&start]), [sum, Some(1800), None], "it broke off before there was any");
    assert_eq!(plain(r#"{"input_tokens":14}"#), [None; 3], "tokens that were only counted");
}

#[test]
fn responses() {
    let usage = r#"{"input_tokens":328,"input_tokens_details":{"cached_tokens":256},
        "output_tokens":52,"output_tokens_details":{"reasoning_tokens":9},"total_tokens":380}"#;
    let all = [Some(328), Some(256), Some(52)];
    assert_eq!(plain(&format!(r#"{{"output":[],"usage":{usage}}}"#)), all);
    let begun = r#"{"type":"response.created","response":{"usage":null}}"#;
    for kind in ["completed", "incomplete"] {
        let end = format!(r#"{{"type":"response.{kind}","response":{{"usage":{usage}}}}}"#);
        assert_eq!(stream(&[begun, &end]), all);
    }
    assert_eq!(stream(&[begun]), [None; 3]);
}

fn written(content_type: &str, body: &str) -> [Option<u64>; 3] {
    let mut reader = AnswerReader::new(content_type).unwrap();
    reader.feed(body.as_bytes());
    let Usage { prompt_tokens, written_tokens, written_1h_tokens, .. } = reader.usage();
    [prompt_tokens, written_tokens, written_1h_tokens]
}

#[test]
fn what_is_written_to_the_cache_is_told_apart_in_each_protocol() {
    let plain = |usage: &str| written("application/json", &format!(r#"{{"usage":{usage}}}"#));
    let chat = r#"{"prompt_tokens":18014,"completion_tokens":1,
        "prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":18011}}"#;
    assert_eq!(plain(chat), [Some(18014), Some(18011), Some(0)]);
    let responses = r#"{"input_tokens":18014,"output_tokens":1,
        "input_tokens_details":{"cache_write_tokens":0,"cached_tokens":18011}}"#;
    assert_eq!(plain(responses), [Some(18014), Some(0), Some(0)]);
    let event = format!(r#"{{"type":"response.completed","response":{{"usage":{responses}}}}}"#);
    let event = format!("data: {}\n\n", event.replace('\n', ""));
    assert_eq!(written(STREAM, &event), [Some(18014), Some(0), Some(0)]);
    let messages = r#"{"input_tokens":21,"cache_creation_input_tokens":188,"cache_read_input_tokens":0,
        "cache_creation":{"ephemeral_5m_input_tokens":88,"ephemeral_1h_input_tokens":100}}"#;
    assert_eq!(plain(messages), [Some(209), Some(188), Some(100)]);
    let event = format!(r#"{{"type":"message_start","message":{{"usage":{messages}}}}}"#);
    let event = format!("data: {}\n\n", event.replace('\n', ""));
    assert_eq!(written(STREAM, &event), [Some(209), Some(188), Some(100)]);
    let undivided = r#"{"input_tokens":21,"cache_creation_input_tokens":188}"#;
    assert_eq!(plain(undivided), [Some(209), Some(188), None]);
    let unknown = r#"{"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":0}}"#;
    assert_eq!(plain(unknown), [Some(7), None, None], "no word of it is not none");
    let alone = r#"{"cache_creation_input_tokens":188}"#;
    assert_eq!(plain(alone), [None; 3], "a part of an unknown whole");
}

#[test]
fn both_ways_of_counting_side_by_side_are_not_added_up() {
    let usage = r#"{"prompt_tokens":2000,"completion_tokens":3,"cache_read_input_tokens":1800,
        "cache_creation_input_tokens":100}"#;
    let told = [Some(2000), Some(1800), Some(3)];
    assert_eq!(plain(&format!(r#"{{"usage":{usage}}}"#)), told);
}

#[test]
fn what_is_no_count_is_unknown() {
    for value in ["null", "-1", "1.5", "1e3", "\"7\"", "true", "[7]", "{}", "18446744073709551616"]
    {
        let body =
            format!(r#"{{"usage":{{"prompt_tokens":{value},"completion_tokens":{value}}}}}"#);
        assert_eq!(plain(&body), [None; 3], "{value}");
    }
    let largest = r#"{"usage":{"prompt_tokens":18446744073709551615}}"#;
    assert_eq!(plain(largest)[0], Some(u64::MAX));
    let beyond = r#"{"usage":{"input_tokens":18446744073709551615,"cache_read_input_tokens":1}}"#;
    assert_eq!(plain(beyond)[0], Some(u64::MAX));
    let deep = r#"{"usage":{"prompt_tokens_details":{"x":{"cached_tokens":1}},"prompt_tokens":2}}"#;
    assert_eq!(plain(deep), [Some(2), None, None]);
    assert_eq!(plain(r#"{"usage":{"prompt_tokens":12"#), [None; 3], "it may have gone on");
}

#[test]
fn an_answer_is_over_when_it_says_so() {
    let mut reader = AnswerReader::new(STREAM).unwrap();
    reader.feed(b"data: {\"usage\":{\"prompt_tokens\":1}}\n\n");
    assert!(!reader.is_over());
    reader.feed(b"data: [DONE]");
    assert!(reader.is_over());
    reader.feed(b"\n\ndata: {\"usage\":{\"prompt_tokens\":2}}\n\n");
    assert_eq!(reader.usage().prompt_tokens, Some(1), "what follows is not read");
}

#[test]
fn what_cannot_be_read_has_no_reader() {
    let of = |status: u16, fields: &[(&str, &str)]| {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        AnswerReader::of(&response.body(()).unwrap().into_parts().0).is_some()
    };
    let json = ("content-type", "application/json");
    assert!(of(200, &[json]));
    assert!(of(200, &[("content-type", "text/event-stream"), ("content-encoding", "identity")]));
    assert!(!of(200, &[json, ("content-encoding", "gzip")]));
    assert!(!of(500, &[json]));
    assert!(!of(200, &[("content-type", "text/html")]));
    assert!(!of(200, &[]));
}
