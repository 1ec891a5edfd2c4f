use std::net::{IpAddr, Ipv4Addr};

use futures_util::FutureExt;

use super::*;

const KIB: usize = 1024;
const TOTAL: usize = 1024 * KIB;

fn client(number: u8) -> Extensions {
    let mut extensions = Extensions::new();
    extensions.insert(Client::at(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))));
    extensions
}

fn used(memory: &BodyMemory) -> (usize, usize) {
    (memory.0.small.load(Ordering::Relaxed), memory.large().used)
}

async fn holding(memory: &BodyMemory, number: u8, bytes: usize) -> Option<Held> {
    let mut held = memory.hold(&client(number));
    held.grow(bytes).await.ok().map(|()| held)
}

#[tokio::test(start_paused = true)]
async fn memory_is_given_back_with_the_last_part_of_a_body() {
    let memory = BodyMemory::new(TOTAL);
    for size in [KIB, 100 * KIB] {
        let held = holding(&memory, 1, size).await.unwrap();
        let body = held.attach(Bytes::from(vec![b' '; size]));
        let part = body.slice(1..2);
        drop(body);
        assert_eq!(used(&memory).0 + used(&memory).1, size);
        drop(part);
        assert_eq!(used(&memory), (0, 0));
    }
    assert!(memory.large().by_client.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_set_aside_and_not_needed_is_given_back() {
    let memory = BodyMemory::new(TOTAL);
    for (size, needed) in [(KIB, 100), (100 * KIB, 80 * KIB), (100 * KIB, 100 * KIB)] {
        let mut held = holding(&memory, 1, size).await.unwrap();
        held.shrink_to(needed);
        assert_eq!(used(&memory).0 + used(&memory).1, needed);
        drop(held);
        assert_eq!(used(&memory), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_grows_beyond_64_kib_leaves_the_memory_of_small_ones() {
    let memory = BodyMemory::new(TOTAL);
    let mut held = holding(&memory, 1, SMALL).await.unwrap();
    assert_eq!(used(&memory), (SMALL, 0));
    held.grow(1).await.unwrap();
    assert_eq!(used(&memory), (0, SMALL + 1));
}

#[tokio::test(start_paused = true)]
async fn a_client_holds_at_most_a_quarter_and_leaves_the_rest_to_others() {
    let memory = BodyMemory::new(TOTAL);
    let first = holding(&memory, 1, 200 * KIB).await.unwrap();
    assert!(holding(&memory, 1, 100 * KIB).await.is_none());
    let second = holding(&memory, 2, 256 * KIB).await;
    assert!(second.is_some());
    drop(first);
    assert!(holding(&memory, 1, 100 * KIB).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn small_bodies_have_room_when_large_ones_have_taken_all_of_theirs() {
    let memory = BodyMemory::new(TOTAL);
    let mut large = Vec::new();
    for number in 0..4 {
        large.extend(
            holding(&memory, number, 220 * KIB).await.map(|held| held.attach(Bytes::new())),
        );
    }
    // `attach` of an empty body gives the memory back with it, so these are kept as they are.
    assert_eq!(large.len(), 4);
    assert!(holding(&memory, 9, SMALL).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_slowest_body_makes_room_for_a_faster_one() {
    let memory = BodyMemory::new(TOTAL);
    let mut slow = Vec::new();
    for number in 0..4 {
        slow.push(holding(&memory, number, (190 + 10 * usize::from(number)) * KIB).await.unwrap());
    }
    tokio::time::advance(Duration::from_secs(30)).await;
    let (slowest, others) = slow.split_first_mut().unwrap();
    let fast = tokio::spawn({
        let memory = memory.clone();
        async move { holding(&memory, 9, 150 * KIB).await.is_some() }
    });
    assert_eq!(slowest.refused().await.code(), "overloaded");
    assert!(others.iter().all(|other| other.refused().now_or_never().is_none()));
    drop(slow.remove(0));
    assert!(fast.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_slowest_body_is_refused_itself() {
    let memory = BodyMemory::new(TOTAL);
    let mut late = holding(&memory, 9, 100 * KIB).await.unwrap();
    tokio::time::advance(Duration::from_secs(30)).await;
    let mut others = Vec::new();
    for number in 0..3 {
        others.push(holding(&memory, number, 256 * KIB).await.unwrap());
    }
    assert!(late.grow(100 * KIB).await.is_err());
    assert!(others.iter().all(|other| other.refused().now_or_never().is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_whole_body_makes_no_room() {
    let memory = BodyMemory::new(TOTAL);
    let mut whole = Vec::new();
    for number in 0..4 {
        let held = holding(&memory, number, 220 * KIB).await.unwrap();
        whole.push(held.attach(Bytes::from_static(b"{}")));
    }
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(holding(&memory, 9, 100 * KIB).await.is_none());
}
