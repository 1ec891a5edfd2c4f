//! The access log: one line for each request, with nothing in it that is secret.

use affinity_tests::models::ONE;
use affinity_tests::{
    Answer, Gateway, Piece, Refusing, Request, Setup, Upstream, get, ok_json, post, run, until,
};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use crate::chat;

const LOGGED: &[&str] = &["--access-log"];

/// The fields of the lines so far, once there are `count`.
async fn lines(gateway: &Gateway, count: usize) -> Vec<Value> {
    let found = || {
        let log = gateway.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let access = lines.filter(|line| line["target"] == "access");
        access.map(|mut line| line["fields"].take()).collect::<Vec<_>>()
    };
    until(async || found().len() >= count).await;
    assert_eq!(found().len(), count);
    found()
}

fn turn() -> Request {
    post("/v1/chat/completions", chat(ONE, "hello"))
}

#[tokio::test]
async fn each_request_has_a_line_that_says_who_served_it_and_names_no_session() {
    let usage = json!({"prompt_tokens": 20, "completion_tokens": 3});
    let answer = json!({"choices": [], "usage": usage});
    let upstream = Upstream::start(move |_| ok_json(&answer)).await;
    let setup = Setup::new(&upstream.url()).listener("client_keys: [{name: team, key: hush-key}]");
    let gateway = Gateway::serve(&setup.yaml(), LOGGED).await;
    let keyed = |request: Request| request.header("authorization", "Bearer hush-key");
    for _ in 0..2 {
        let request = keyed(turn().session("hush-session"));
        assert_eq!(gateway.ask(&request).await.status, 200);
    }
    let decision = keyed(post("/routing/v1/chat/completions", chat(ONE, "hello")));
    gateway.ask(&decision.session("hush-session")).await;
    gateway.ask(&turn()).await;
    gateway.ask(&get("/modles?key=hush-query")).await;
    let lines = lines(&gateway, 5).await;
    let [first, second, decided, refused, unknown] = &lines[..] else { panic!("{lines:?}") };
    let of = |line: &Value, names: &[&str]| names.iter().map(|name| line[*name].clone()).collect();
    let seen: Vec<Value> = of(first, &["method", "path", "status", "outcome", "model", "provider"]);
    assert_eq!(
        seen,
        ["POST", "/v1/chat/completions", "200", "claimed", ONE, "openai"].map(|text| {
            text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number))
        })
    );
    let seen: Vec<Value> =
        of(second, &["client", "outcome", "end", "prompt_tokens", "output_tokens"]);
    assert_eq!(seen, [json!("team"), json!("hit"), json!("complete"), json!(20), json!(3)]);
    assert!(second["total_ms"].as_u64() >= second["first_byte_ms"].as_u64());
    assert!(first["session"].is_string());
    assert_eq!([&second["session"], &decided["session"]], [&first["session"]; 2]);
    assert_eq!((&decided["outcome"], &decided["provider"]), (&json!("hit"), &Value::Null));
    assert_eq!((&refused["status"], &refused["client"]), (&json!(401), &Value::Null));
    assert_eq!((&unknown["status"], &unknown["path"]), (&json!(404), &json!("/modles")));
    assert!(!gateway.log().contains("hush"), "{}", gateway.log());
}

#[tokio::test]
async fn an_answer_that_its_client_leaves_is_cut_and_its_line_is_written_then() {
    let (steps, receiver) = unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let gateway = Gateway::serve(&Setup::new(&upstream.url()).yaml(), LOGGED).await;
    let mut connection = gateway.connect().await;
    connection.write(&turn()).await;
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
    steps.send(head.into()).unwrap();
    connection.head().await;
    assert_eq!(connection.piece().await, Piece::Data("one".into()));
    lines(&gateway, 0).await;
    drop(connection);
    let line = lines(&gateway, 1).await.remove(0);
    assert_eq!((&line["end"], &line["status"]), (&json!("cut"), &json!(200)));
}

#[tokio::test]
async fn without_the_option_no_request_has_a_line() {
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&upstream.url()).start().await;
    assert_eq!(gateway.ask(&turn()).await.status, 200);
    lines(&gateway, 0).await;
    let output = run(&["demo", "--access-log"], &[]).await;
    assert_eq!(output.code, Some(2), "it belongs to serve");
}

#[tokio::test]
async fn each_failure_of_a_provider_is_one_warning_that_names_it() {
    let refusing = Refusing::new();
    let unauthorized = Upstream::start(|_| {
        Answer::Bytes(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}".to_vec())
    });
    let unauthorized = unauthorized.await;
    for (url, failover, said) in [
        (refusing.url(), true, "upstream cannot be reached"),
        (refusing.url(), false, "upstream cannot be reached"),
        (unauthorized.url(), true, "a target that failed cools down"),
        (unauthorized.url(), false, "the provider refuses our key"),
    ] {
        let routing = format!("failover: {failover}");
        let gateway = Setup::new(&url).routing(&routing).start().await;
        assert_eq!(gateway.ask(&turn()).await.status, 502, "{said}");
        until(async || gateway.log().contains(said)).await;
        let log = gateway.log();
        let is_warning = |line: &&str| line.contains("WARN") && line.contains("\"host\"");
        let about = format!("\"model\":\"{ONE}\"");
        let warnings: Vec<_> = log.lines().filter(is_warning).collect();
        let warnings: Vec<_> = warnings.iter().filter(|line| line.contains(&about)).collect();
        assert_eq!(warnings.len(), 1, "{failover}: {log}");
        for told in [said, "\"provider\":\"openai\"", "\"host\":\"127.0.0.1\""] {
            assert!(warnings[0].contains(told), "{told} in {}", warnings[0]);
        }
    }
}
