//! Each way in which a router can fail, for both routers that go over the network.

use std::sync::mpsc;
use std::time::Duration;

use affinity_layer::RouteDecision;
use axum::response::{IntoResponse, Redirect};
use http::{StatusCode, Uri};
use router_client::{ErrorKind, LlmRouter, PlanoRouter, RouterClient, RouterError};
use tower::ServiceExt;

use crate::server::{Server, completion, raw};
use crate::{chat, preferences};

fn llm(url: Uri) -> LlmRouter {
    LlmRouter::new(url, "Arch-Router", preferences(&[("code", "code", &["a/b"])]))
}

async fn ask_llm(url: Uri) -> Result<RouteDecision, RouterError> {
    llm(url).oneshot(chat("hello")).await
}

async fn ask_plano(url: Uri) -> Result<RouteDecision, RouterError> {
    PlanoRouter::new(url).oneshot(chat("hello")).await
}

/// For servers that keep the connection open: a fault shows as a timeout, not as a hanging test.
async fn ask_plano_for_a_while(url: Uri) -> Result<RouteDecision, RouterError> {
    let client = RouterClient::builder(PlanoRouter::new(url)).timeout(Duration::from_secs(5));
    client.build().oneshot(chat("hello")).await
}

#[tokio::test]
async fn a_status_other_than_200_is_a_failure() {
    for status in [204, 400, 401, 404, 429, 500, 501, 502, 503, 504, 529] {
        let server = Server::start(move |_| {
            (StatusCode::from_u16(status).unwrap(), completion(r#"{"route":"code"}"#))
        })
        .await;
        for asked in [ask_llm(server.url("")).await, ask_plano(server.url("")).await] {
            let error = asked.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Status(status));
            let retryable = [429, 500, 502, 503, 504].contains(&status);
            assert_eq!(error.is_retryable(), retryable, "{status}");
        }
    }
}

#[tokio::test]
async fn what_is_not_a_decision_is_malformed() {
    for answer in ["", "<html>busy</html>", "{}", "[]", "null", "use model a/b"] {
        let server = Server::start(move |_| answer).await;
        for asked in [ask_llm(server.url("")).await, ask_plano(server.url("")).await] {
            assert_eq!(asked.unwrap_err().kind(), ErrorKind::Malformed, "{answer}");
        }
    }
    let prose = Server::model("I would choose secret-text").await;
    let error = ask_llm(prose.url("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(!format!("{error:?} {error}").contains("secret-text"));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Server::model(r#"{"route":"code"}"#).await;
    let url = target.url("/v1/chat/completions").to_string();
    let server = Server::start(move |_| Redirect::temporary(&url).into_response()).await;
    for asked in [ask_llm(server.url("")).await, ask_plano(server.url("")).await] {
        assert_eq!(asked.unwrap_err().kind(), ErrorKind::Status(307));
    }
    assert_eq!(target.count(), 0);
}

#[tokio::test]
async fn a_refused_connection_may_be_tried_again() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url: Uri = format!("http://{closed}").parse().unwrap();
    for asked in [ask_llm(url.clone()).await, ask_plano(url).await] {
        let error = asked.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert!(error.is_retryable());
    }
}

#[tokio::test]
async fn https_is_not_spoken_to_a_plain_server() {
    // Needs the system's certificates, as every https URL does.
    let plain = raw(b"HTTP/1.1 200 OK\r\n\r\n{\"models\":[\"a/b\"]}".to_vec(), drop);
    let url: Uri = plain.to_string().replace("http:", "https:").parse().unwrap();
    assert_eq!(ask_plano(url).await.unwrap_err().kind(), ErrorKind::Connect);
}

#[tokio::test]
async fn an_answer_cut_off_is_a_broken_connection() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"models\":[\"a/b\"]}";
    let error = ask_plano(raw(half.to_vec(), drop)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
}

#[tokio::test]
async fn an_announced_length_over_the_limit_is_not_waited_for() {
    // The connection stays open for as long as the test runs, and no byte of the body comes.
    let (held, hold) = mpsc::channel::<()>();
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n";
    let url = raw(head.to_vec(), move |_stream| hold.recv().unwrap_or(()));
    assert_eq!(ask_plano_for_a_while(url).await.unwrap_err().kind(), ErrorKind::TooLarge);
    drop(held);
}

#[tokio::test]
async fn an_answer_without_length_is_cut_at_the_limit() {
    let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..65 {
        answer.extend(format!("400\r\n{}\r\n", " ".repeat(1024)).bytes());
    }
    let (held, hold) = mpsc::channel::<()>();
    let url = raw(answer, move |_stream| hold.recv().unwrap_or(()));
    assert_eq!(ask_plano_for_a_while(url).await.unwrap_err().kind(), ErrorKind::TooLarge);
    drop(held);
}

#[tokio::test]
async fn the_limit_itself_is_allowed() {
    for (length, allowed) in [(64 * 1024, true), (64 * 1024 + 1, false)] {
        let mut answer = r#"{"models":["a/b"]}"#.to_owned();
        answer.push_str(&" ".repeat(length - answer.len()));
        let server = Server::start(move |_| answer.clone()).await;
        assert_eq!(ask_plano(server.url("")).await.is_ok(), allowed, "{length}");
    }
}

#[tokio::test]
async fn a_wrong_url_or_credential_is_reported_with_each_call() {
    let url: Uri = "/v1".parse().unwrap();
    for asked in [ask_llm(url.clone()).await, ask_plano(url).await] {
        assert_eq!(asked.unwrap_err().kind(), ErrorKind::Config);
    }
    let router = llm("http://127.0.0.1:1".parse().unwrap()).bearer("secret\n");
    assert_eq!(router.oneshot(chat("hello")).await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_client_retries_over_the_network() {
    let server = Server::start(|n| match n {
        0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => completion(r#"{"route":"code"}"#).into_response(),
    })
    .await;
    let client = RouterClient::builder(llm(server.url(""))).build();
    let decided = client.oneshot(chat("hello")).await.unwrap();
    assert_eq!(decided.models[0].as_str(), "a/b");
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_server_that_never_answers_ends_in_the_time_limit() {
    let (held, hold) = mpsc::channel::<()>();
    let url = raw(Vec::new(), move |_stream| hold.recv().unwrap_or(()));
    let client = RouterClient::builder(llm(url)).timeout(Duration::from_millis(100)).build();
    assert_eq!(client.oneshot(chat("hello")).await.unwrap_err().kind(), ErrorKind::Timeout);
    drop(held);
}
