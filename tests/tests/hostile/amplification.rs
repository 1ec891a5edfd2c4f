//! What the heads of many requests at once take up.

use affinity_tests::{Answer, Connection, Gateway, Request, Setup, Upstream, until};

use crate::turn;

const REQUESTS: usize = 1000;

/// A request with ten fields of `length` bytes.
fn with_fields(length: usize) -> Request {
    let value = "v".repeat(length);
    (0..10).fold(turn(), |request, n| request.header(&format!("x-field-{n}"), &value))
}

/// What 1,000 requests under way take more than none, in KiB.
async fn growth(length: usize) -> u64 {
    let upstream = Upstream::start(|_| Answer::Silence).await;
    let gateway = Setup::new(&upstream.url()).start().await;
    // What is made once, for the first requests, is not counted.
    hold(&gateway, &upstream, 0, 50).await;
    let before = gateway.resident();
    let held = hold(&gateway, &upstream, length, REQUESTS).await;
    let grown = gateway.resident().saturating_sub(before);
    drop(held);
    grown
}

async fn hold(
    gateway: &Gateway,
    upstream: &Upstream,
    length: usize,
    count: usize,
) -> Vec<Connection> {
    let (request, before) = (with_fields(length), upstream.count());
    let mut held = Vec::new();
    for n in 0..count {
        let mut connection = gateway.connect().await;
        connection.write(&request.clone().session(&format!("s-{n}"))).await;
        held.push(connection);
    }
    until(async || upstream.count() == before + count).await;
    held
}

#[tokio::test]
async fn heads_of_ten_kibibytes_take_four_times_their_length_at_most() {
    let (small, large) = (growth(1).await, growth(1024).await);
    let received = u64::try_from(REQUESTS * 10).unwrap();
    println!("{small} KiB with small heads, {large} KiB with {received} KiB of fields");
    assert!(large <= small + 4 * received, "{small} KiB, then {large} KiB");
    // It can be seen at all.
    assert!(large > small + received / 2, "{small} KiB, then {large} KiB");
}
