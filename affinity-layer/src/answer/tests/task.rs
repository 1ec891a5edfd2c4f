use crate::answer::AnswerReader;

/// The verdict, and the same one however the answer is cut.
#[track_caller]
fn is_final(content_type: &str, body: &str) -> bool {
    let verdict = |pieces: &[&[u8]]| {
        let mut reader = AnswerReader::new(content_type).unwrap();
        pieces.iter().for_each(|piece| reader.feed(piece));
        reader.ends_task()
    };
    let whole = verdict(&[body.as_bytes()]);
    for at in 0..body.len() {
        let (head, tail) = body.as_bytes().split_at(at);
        assert_eq!(verdict(&[head, tail]), whole, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(verdict(&bytes), whole, "byte by byte");
    whole
}

pub(super) fn plain(body: &str) -> bool {
    is_final("application/json; charset=utf-8", body)
}

fn stream(events: &[&str]) -> bool {
    let verdict = stream_with(events, "data: ", "\n");
    for (data, end) in [("data:", "\r\n"), ("event: x\ndata: ", "\n"), (": c\rid: 1\rdata: ", "\r")]
    {
        assert_eq!(stream_with(events, data, end), verdict, "{data:?} {end:?}");
    }
    verdict
}

/// That of a stream whose events are written with this field and this end of a line.
#[track_caller]
pub(super) fn stream_with(events: &[&str], data: &str, end: &str) -> bool {
    let text: String = events.iter().map(|event| format!("{data}{event}{end}{end}")).collect();
    is_final("text/event-stream", &text)
}

#[test]
fn chat_completions() {
    let answer = |reason: &str| {
        format!(
            r#"{{"id":"x","choices":[{{"index":0,"message":{{"content":"a \"finish_reason\": \"tool_calls\""}},"finish_reason":{reason}}}],"usage":{{}}}}"#
        )
    };
    for reason in [r#""stop""#, r#""length""#, r#""content_filter""#] {
        assert!(plain(&answer(reason)), "{reason}");
    }
    for reason in [r#""tool_calls""#, r#""function_call""#, "null", "1"] {
        assert!(!plain(&answer(reason)), "{reason}");
    }
    assert!(!plain(r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":"tool_calls"}]}"#));
    assert!(plain(r#"{"choices" : [ { "finish_reason" : "stop" , "x" : [ { } ] } ] }"#));
}

#[test]
fn chat_completions_streamed() {
    let chunk = |reason: &str| {
        format!(
            r#"{{"choices":[{{"delta":{{"content":"data: \n\n"}},"finish_reason":{reason}}}]}}"#
        )
    };
    let usage = r#"{"choices":[],"usage":{"total_tokens":7}}"#;
    let (none, stop, tool) = (chunk("null"), chunk(r#""stop""#), chunk(r#""tool_calls""#));
    assert!(stream(&[&none, &none, &stop, usage, "[DONE]"]));
    assert!(!stream(&[&none, &tool, usage, "[DONE]"]));
    assert!(!stream(&[&none, &none]), "it broke off");
    assert!(!stream(&[&none, &chunk(r#""""#)]), "an empty reason is none");
    assert!(!stream(&["[DONE]"]));
}

#[test]
fn a_call_goes_on_whatever_the_reason() {
    let call = r#"{"index":0,"function":{"arguments":"{"}}"#;
    for place in ["message", "delta"] {
        for (said, ends) in [
            (format!(r#""tool_calls":[{call}]"#), false),
            (format!(r#""content":"","tool_calls":[null,{call}]"#), false),
            (r#""function_call":{"name":"f"}"#.to_owned(), false),
            (r#""tool_calls":[],"function_call":null"#.to_owned(), true),
            (format!(r#""content":[{{"tool_calls":[{call}]}}]"#), true),
        ] {
            let stop = r#"{"choices":[{"finish_reason":"stop"}]}"#;
            let choice =
                format!(r#"{{"choices":[{{"{place}":{{{said}}},"finish_reason":"stop"}}]}}"#);
            assert_eq!(plain(&choice), ends, "{choice}");
            assert_eq!(stream(&[&choice, stop, "[DONE]"]), ends, "{choice}");
        }
    }
}

/// After how many bytes the end was seen; `None` if it was not.
fn over_after(content_type: &str, body: &str) -> Option<usize> {
    let mut reader = AnswerReader::new(content_type).unwrap();
    let over = body.bytes().position(|byte| {
        reader.feed(&[byte]);
        reader.is_over()
    });
    over.map(|at| at + 1)
}

#[test]
fn an_answer_is_over_with_the_byte_that_says_so() {
    let chat = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n";
    for last in [
        "data: [DONE]",
        "data:[DONE]",
        "data: {\"type\":\"message_stop\"}",
        "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}",
        "data: {\"type\":\"response.incomplete\",\"response\":{}}",
        "data: {\"response\":{},\"type\":\"response.failed\"}",
    ] {
        let text = format!("{chat}event: x\n{last}");
        assert_eq!(
            over_after("text/event-stream", &format!("{text}\n\n")),
            Some(text.len()),
            "{last}"
        );
    }
    for other in [
        "data: [DONE",
        // The lines of an event are apart by a line feed.
        "data: [DONE\ndata:]",
        "data: {\"type\":\"message\ndata:_stop\"}",
        "data: \"[DONE]\"",
        "data: x[DONE]",
        "event: message_stop",
        "data: {\"type\":\"message_delta\",\"delta\":{\"type\":\"message_stop\"}}",
    ] {
        assert_eq!(over_after("text/event-stream", &format!("{chat}{other}\n\n")), None, "{other}");
    }
    for (body, over) in [("{\"a\":[{}]} \n", Some(10)), ("{\"a\":[{}]", None), ("]\"a\"", None)] {
        assert_eq!(over_after("application/json", body), over, "{body}");
    }
}

#[test]
fn what_follows_the_end_is_not_read() {
    let (end, call) = (r#"{"stop_reason":"end_turn"}"#, r#"{"stop_reason":"tool_use"}"#);
    assert!(plain(&format!("{end}{call}")));
    assert!(stream(&[end, r#"{"type":"message_stop"}"#, call]));
    assert!(stream(&[end, "[DONE]", call]));
}

#[test]
fn messages() {
    let answer = |reason: &str| {
        format!(
            r#"{{"type":"message","content":[{{"type":"text","text":"stop_reason"}}],"stop_reason":{reason}}}"#
        )
    };
    for reason in ["end_turn", "max_tokens", "stop_sequence", "refusal"] {
        assert!(plain(&answer(&format!("\"{reason}\""))), "{reason}");
    }
    for reason in [r#""tool_use""#, r#""pause_turn""#, "null"] {
        assert!(!plain(&answer(reason)), "{reason}");
    }
}

#[test]
fn messages_streamed() {
    let start = r#"{"type":"message_start","message":{"stop_reason":null,"content":[]}}"#;
    let end = r#"{"type":"message_stop"}"#;
    let delta = |reason: &str| {
        format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":null}}}}"#
        )
    };
    assert!(stream(&[start, &delta("end_turn"), end]));
    assert!(!stream(&[start, &delta("tool_use"), end]));
}

#[test]
fn responses() {
    let message = r#"{"type":"message","content":[{"type":"output_text","text":"x_call"}]}"#;
    let call = r#"{"type":"function_call","name":"f","arguments":"{\"type\":\"x\"}"}"#;
    let answer = |status: &str, items: &str| {
        [
            format!(r#"{{"status":"{status}","output":[{items}]}}"#),
            format!(r#"{{"output":[{items}],"status":"{status}"}}"#),
        ]
    };
    let both = |status: &str, items: &str| {
        let [one, other] = answer(status, items);
        let verdict = plain(&one);
        assert_eq!(plain(&other), verdict);
        for kind in ["response.completed", "response.incomplete", "response.failed"] {
            let created = r#"{"type":"response.created","response":{"status":"in_progress"}}"#;
            let last = format!(r#"{{"type":"{kind}","response":{one}}}"#);
            assert_eq!(stream(&[created, &last]), verdict, "{kind}");
        }
        verdict
    };
    assert!(both("completed", message));
    assert!(!both("completed", &format!("{message},{call}")));
    assert!(!both("completed", r#"{"type":"custom_tool_call"}"#));
    assert!(!both("completed", r#"{"type":"local_shell_call"}"#));
    assert!(!both("completed", r#"{"type":"mcp_approval_request"}"#));
    assert!(both("completed", &format!("{{\"type\":\"web_search_call\"}},{message}")), "hosted");
    assert!(!both("in_progress", message));
    for status in ["incomplete", "failed", "cancelled"] {
        assert!(both(status, message), "{status}");
    }
}

#[test]
fn escapes_are_read_and_long_strings_are_not_kept() {
    assert!(plain(r#"{"\u0073top_reason":"end\u005fturn"}"#));
    assert!(!plain(r#"{"stop_reason":"tool\u005Fuse"}"#));
    let long = "x".repeat(1 << 10);
    assert!(plain(&format!(r#"{{"{long}":"{long}\\","stop_reason":"end_turn"}}"#)));
    let mut reader = AnswerReader::new("application/json").unwrap();
    reader.feed(b"{\"a\":\"");
    (0..1000).for_each(|_| reader.feed(&[b'x'; 1024]));
    assert!(format!("{reader:?}").len() < 2000, "a string without end fills no memory");
}

#[test]
fn depth_is_counted_and_not_followed() {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(plain(&format!(r#"{{"a":{},"stop_reason":"end_turn"}}"#, deep(300))));
    assert!(!plain(&format!(r#"{{"a":{}{{"stop_reason":"end_turn"}}"#, "[".repeat(300))));
}

#[test]
fn what_is_no_answer_ends_nothing() {
    for body in ["", "null", "\"stop\"", "{\"error\":{\"type\":\"x\"}}", "]]}}\"", "<html>"] {
        assert!(!plain(body), "{body}");
    }
    for content_type in ["text/html", "", "application/octet-stream"] {
        assert!(AnswerReader::new(content_type).is_none());
    }
}

#[test]
fn a_byte_order_mark_hides_no_event() {
    let done = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    let stream = |begin: &str| format!("{begin}data: {done}\n\n");
    assert!(is_final("text/event-stream", &stream("\u{feff}")));
    // One mark is skipped; anything else before the field makes another field of it.
    for begin in ["\u{feff}\u{feff}", "\u{fefe}", "x\u{feff}"] {
        assert!(!is_final("text/event-stream", &stream(begin)), "{begin:?}");
    }
    assert!(plain(&format!("\u{feff}{done}")));
    // A mark on a later line belongs to the name of its field.
    assert!(!is_final("text/event-stream", &stream(": c\n\u{feff}")));
}

#[test]
fn types_with_the_suffix_of_json_are_read() {
    let body = r#"{"choices":[{"finish_reason":"stop"}]}"#;
    for media in
        ["application/vnd.openai+json", "Application/Problem+JSON; x=y", "application/json"]
    {
        assert!(is_final(media, body), "{media}");
    }
    for media in ["application/jsonl", "application/json+gzip", "text/json", "json", ""] {
        assert!(AnswerReader::new(media).is_none(), "{media}");
    }
}
