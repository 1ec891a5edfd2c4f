use crate::answer::AnswerReader;

const PLAIN: &str = r#"{"object":"response","output":[{"id":"msg_1"}],"text":{"id":"no"},
    "id":"resp_68a3f0c2d1b8819fa0c4e8d2b7a6f5e4d3c2b1a09f8e7d6c","previous_response_id":"resp_0"}"#;
const STREAM: &str = "event: response.created\ndata: {\"type\":\"response.created\",\
    \"id\":\"no\",\"response\":{\"id\":\"resp_1\",\"output\":[]}}\n\n\
    data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\"}}\n\n";

fn found(content_type: &str, pieces: &[&str]) -> Option<String> {
    let mut reader = AnswerReader::new(content_type).unwrap();
    pieces.iter().for_each(|piece| reader.feed(piece.as_bytes()));
    reader.response_id().map(str::to_owned)
}

#[test]
fn the_id_is_found_wherever_the_answer_is_cut() {
    let plain = "resp_68a3f0c2d1b8819fa0c4e8d2b7a6f5e4d3c2b1a09f8e7d6c";
    for (content_type, answer, id) in
        [("application/json", PLAIN, plain), ("text/event-stream; charset=utf-8", STREAM, "resp_1")]
    {
        for at in 0..=answer.len() {
            let (head, tail) = answer.split_at(at);
            assert_eq!(found(content_type, &[head, tail]).as_deref(), Some(id), "{at}");
        }
    }
}

#[test]
fn it_is_found_with_its_last_byte() {
    let end = PLAIN.find("d6c\"").unwrap() + 4;
    assert_eq!(found("application/json", &[&PLAIN[..end - 1]]), None);
    assert!(found("application/json", &[&PLAIN[..end]]).is_some());
}

#[test]
fn an_id_may_be_long_and_hold_slashes() {
    let answer = |id: &str| format!("{{\"id\":\"{id}\"}}");
    let long = "x".repeat(256);
    assert_eq!(found("application/json", &[&answer(&long)]), Some(long));
    assert_eq!(found("application/json", &[&answer(&"x".repeat(257))]), None);
    assert_eq!(found("application/json", &[&answer("a\\/b")]).as_deref(), Some("a/b"));
}

#[test]
fn other_answers_have_none() {
    for body in ["", "[]", "{\"id\":7}", "{\"response\":{\"id\":\"a\"}}", "[{\"id\":\"a\"}]"] {
        assert_eq!(found("application/json", &[body]), None, "{body}");
    }
    assert_eq!(found("text/event-stream", &["data: {\"id\":\"a\"}\n\n"]), None);
    assert!(AnswerReader::new("text/html").is_none());
}
