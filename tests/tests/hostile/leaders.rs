//! Clients that leave while the first decision of their session is made for others, too.

use std::time::Duration;

use affinity_tests::models::{ONE, TWO};
use affinity_tests::{Answer, Connection, Setup, Upstream, until, within};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::turn;

const SESSIONS: u64 = 200;
const FOLLOWERS: usize = 20;

/// Sessions at once.
const AT_ONCE: usize = 8;

/// A pause of up to 30 ms, other ones for each number.
fn pause(number: u64) -> Duration {
    Duration::from_micros(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).mul_f64(7e-6)
}

/// A routing model that takes its time, and never gives the same answer twice in a row.
async fn slow_router() -> Upstream {
    let number = std::sync::atomic::AtomicU64::new(0);
    Upstream::start(move |_| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let route = if number.is_multiple_of(2) { "one" } else { "two" };
        let content = json!({"route": route}).to_string();
        let message = json!({"role": "assistant", "content": content});
        let body = json!({"choices": [{"index": 0, "message": message}]}).to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n");
        let (steps, receiver) = unbounded_channel();
        tokio::spawn(async move {
            sleep(Duration::from_millis(15) + pause(number)).await;
            // Whoever asked may be gone.
            let _ = steps.send(format!("{head}\r\n{body}").into());
        });
        Answer::Steps(receiver)
    })
    .await
}

#[tokio::test]
async fn two_hundred_leaders_that_are_reset_at_any_moment_wedge_nobody() {
    let (upstream, router) = (Upstream::echo().await, slow_router().await);
    let url = format!("{}/v1", router.url());
    let gateway = Setup::new(&upstream.url()).router(&url, 10_000).start().await;
    let (address, before) = (gateway.address(), gateway.sockets());
    let mut sessions = JoinSet::new();
    for number in 0..SESSIONS {
        if sessions.len() >= AT_ONCE {
            within(sessions.join_next()).await.unwrap().unwrap();
        }
        sessions.spawn(async move {
            let turn = turn().session(&format!("s-{number}"));
            let mut leader = Connection::open(address).await;
            leader.write(&turn).await;
            let mut followers = JoinSet::new();
            for _ in 0..FOLLOWERS {
                let turn = turn.clone();
                followers.spawn(async move {
                    let answer = Connection::open(address).await.ask(&turn).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answer.header("x-plano-model").unwrap().to_owned()
                });
            }
            sleep(pause(number)).await;
            leader.wire.reset();
            let models = followers.join_all().await;
            assert!(models.iter().all(|model| *model == models[0]), "{number}: {models:?}");
            assert!([ONE, TWO].contains(&&*models[0]), "{number}: {}", models[0]);
        });
    }
    while let Some(ended) = within(sessions.join_next()).await {
        ended.unwrap();
    }
    let calls = u64::try_from(router.count()).unwrap();
    println!("{calls} calls of the router for {SESSIONS} sessions");
    assert!(calls <= 2 * SESSIONS, "{calls} calls: at most one more for each that left");
    assert!(calls > SESSIONS, "{calls} calls: nobody has left amid a decision");
    // Nothing is kept for those who are gone: what is left are idle connections to the provider, at
    // most one for each request that was under way at once.
    let kept = before + AT_ONCE * (FOLLOWERS + 1);
    until(async || gateway.sockets() <= kept).await;
    let answer = gateway.ask(&turn().session("s-0")).await;
    assert_eq!(answer.header("x-plano-affinity"), Some("hit"));
}
