//! Values that are no pins, and values at the edge of being one.

use std::time::Duration;

use affinity_layer::{AffinityStore, Epoch, Expiry, PinRead, RedisStore, StoreErrorKind};
use affinity_tests::redis::{Mode, Proxy, RedisServer};

use crate::support::{
    CALM, LONG, claim, get, key, left, model, model_in, name, options, redis, selection, soon,
    tiered,
};

const SLIDING: Expiry = Expiry::sliding(Duration::from_secs(60), Duration::from_secs(600));

async fn start() -> (RedisServer, RedisStore) {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url())).await;
    (server, store)
}

fn object(model: &str) -> Vec<u8> {
    serde_json::json!({"model_name": model, "route_name": null}).to_string().into_bytes()
}

/// Rows 111 to 118 of the list of hostile values.
fn values() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("empty", text("")),
        ("no JSON", text("openai/gpt-4o")),
        ("cut off", text(r#"{"model_name":"a/b","route_n"#)),
        ("null", text("null")),
        ("an array", text(r#"["a/b"]"#)),
        ("a number", text("42")),
        ("another object", text(r#"{"pinned":{"model":"a/b"}}"#)),
        ("a newer version without a model", text(r#"{"v":2,"data":"x"}"#)),
        ("no model", object("")),
        ("a long model", object(&"m".repeat(10_000))),
        ("a model with a line break", object("a/b\r\nx-evil: 1")),
        ("a model of another type", text(r#"{"model_name":7}"#)),
        ("not UTF-8", b"{\"model_name\":\"a/\xff\xfe\"}".to_vec()),
        ("NUL bytes", vec![0; 300]),
        ("one mebibyte", vec![b'x'; 1 << 20]),
        ("one mebibyte of JSON", object(&"m".repeat(1 << 20))),
        ("deep", [vec![b'['; 10_000], vec![b']'; 10_000]].concat()),
    ]
}

#[tokio::test]
async fn an_unreadable_value_is_no_pin_and_gives_way_to_the_next_claim() {
    let (server, store) = start().await;
    for (what, bad) in values() {
        let stored = name("s");
        server.run(&[b"SET", stored.as_bytes(), &bad, b"EX", b"300"]).await;
        assert_eq!(get(&store, "s").await.unwrap(), None, "{what}");
        let moved = store.repin(&key("s"), Epoch(1), selection("a/b"), &LONG).await;
        assert!(moved.unwrap().is_none_or(|claim| !claim.won), "{what}");
        assert!(!store.release(&key("s"), Some(Epoch(1))).await.unwrap(), "{what}");
        assert_eq!(server.run(&["GET", &stored]).await.bytes(), Some(&*bad), "{what}: kept");

        let claimed = claim(&store, "s", "a/new").await.unwrap();
        assert!(claimed.won, "{what}");
        assert_eq!(get(&store, "s").await.unwrap().as_ref(), Some(&claimed.pin), "{what}");
        assert_eq!(model_in(&server, "s").await.as_deref(), Some("a/new"), "{what}");
        assert!(left(&server, "s").await > 590_000, "{what}");
    }
}

/// A claim tells what stands by sending it, so what is too long for that goes when it is read.
#[tokio::test]
async fn a_value_of_many_mebibytes_is_never_sent() {
    let (server, store) = start().await;
    let sent = async || {
        let stats = server.run(&["INFO", "stats"]).await;
        let mut lines = stats.text().unwrap().lines();
        let bytes = lines.find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        bytes.unwrap().parse::<u64>().unwrap()
    };
    let last = (64 << 20).to_string();
    server.run(&["SETRANGE", &name("s"), &last, "x"]).await;
    let before = sent().await;
    for expiry in [LONG, SLIDING] {
        server.run(&["SETRANGE", &name("s"), &last, "x"]).await;
        assert_eq!(Box::pin(store.get(&key("s"), &expiry)).await.unwrap(), PinRead::Absent);
        assert!(claim(&store, "s", "a/new").await.unwrap().won);
    }
    assert_eq!(model_in(&server, "s").await.as_deref(), Some("a/new"));
    let sent = sent().await - before;
    assert!(sent < 1 << 20, "{sent} bytes");
}

#[tokio::test]
async fn of_many_who_replace_an_unreadable_value_one_wins() {
    let (server, store) = start().await;
    let other = redis(&options(&server.url())).await;
    for (what, bad) in [("short", b"bad".to_vec()), ("long", vec![b'x'; 1 << 20])] {
        server.run(&[b"SET", name("s").as_bytes(), &bad]).await;
        let (a, b, c, d) = tokio::join!(
            claim(&store, "s", "a/one"),
            claim(&other, "s", "a/two"),
            claim(&store, "s", "a/three"),
            claim(&other, "s", "a/four"),
        );
        let claims = [a, b, c, d].map(Result::unwrap);
        assert_eq!(claims.iter().filter(|claim| claim.won).count(), 1, "{what}");
        let stands = get(&store, "s").await.unwrap().unwrap();
        assert!(claims.iter().all(|claim| claim.pin == stands), "{what}");
    }
}

#[tokio::test]
async fn a_newer_version_is_honoured_and_not_overwritten() {
    let (server, store) = start().await;
    let newer = r#"{"v":9,"model_name":"a/b","route_name":{"id":3},"epoch":5,"more":[1]}"#;
    server.run(&["SET", &name("s"), newer, "EX", "300"]).await;
    let pin = get(&store, "s").await.unwrap().unwrap();
    assert_eq!(pin.selection.model().as_str(), "a/b");
    assert!(!claim(&store, "s", "a/other").await.unwrap().won);
    assert_eq!(server.run(&["GET", &name("s")]).await.text(), Some(newer));
}

#[tokio::test]
async fn a_list_in_the_place_of_a_pin_is_an_error_and_stays() {
    let (server, store) = start().await;
    server.run(&["RPUSH", &name("s"), "job"]).await;
    // More often than it takes to open a breaker: an answer without sense is an answer.
    for _ in 0..10 {
        let errors = [
            get(&store, "s").await.unwrap_err(),
            claim(&store, "s", "a/b").await.unwrap_err(),
            store.repin(&key("s"), Epoch(1), selection("a/b"), &LONG).await.unwrap_err(),
            store.release(&key("s"), Some(Epoch(1))).await.unwrap_err(),
            store.release(&key("s"), None).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error:?}");
        }
    }
    let queue = server.run(&["LRANGE", &name("s"), "0", "-1"]).await;
    assert_eq!(queue.items()[0].text(), Some("job"));
    claim(&store, "t", "a/b").await.unwrap();
}

#[tokio::test]
async fn huge_numbers_move_nothing_out_of_range() {
    let (server, store) = start().await;
    for huge in ["18446744073709551615", "9223372036854775808", "1e308", "-1"] {
        let value = format!(
            r#"{{"model_name":"a/b","route_name":null,"epoch":{huge},"claimed_at":{huge}}}"#
        );
        server.run(&["SET", &name("s"), &value, "EX", "300"]).await;
        let pin = get(&store, "s").await.unwrap().unwrap();
        assert!(!claim(&store, "s", "a/other").await.unwrap().won, "{huge}");
        store.repin(&key("s"), pin.epoch, selection("a/c"), &LONG).await.unwrap();
        assert!(store.release(&key("s"), None).await.unwrap(), "{huge}");
    }
    let ours = claim(&store, "t", "a/b").await.unwrap().pin.epoch;
    assert!(ours.0 < u64::MAX / 2, "{ours}");
}

#[tokio::test]
async fn a_lifetime_of_ten_years_is_no_trouble() {
    let server = RedisServer::start().await;
    let store = tiered(&options(&server.url())).await;
    let value = r#"{"model_name":"a/b","route_name":null}"#;
    server.run(&["SET", &name("s"), value, "EX", "315360000"]).await;
    // The news of the SET may come after the first read.
    soon(CALM, "it is kept near", async || {
        assert_eq!(model(&store, "s").await.as_deref(), Some("a/b"));
        store.peek(&key("s"), &LONG).is_some()
    })
    .await;
    assert!(left(&server, "s").await > 315_000_000_000, "its own expiry is kept");
}

#[tokio::test]
async fn a_name_that_is_somebody_elses_is_asked_for_now_and_then_and_holds_no_other_up() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.addr()).await;
    let store = tiered(&options(&format!("redis://{}", proxy.addr()))).await;
    let taken: Vec<_> = (0..8).map(|n| format!("taken-{n}")).collect();
    for session in &taken {
        server.run(&["LPUSH", &name(session), "x"]).await;
        assert!(claim(&store, session, "a/one").await.is_err());
        // Redis is told of it once more, and then not for a second.
        assert_eq!(model(&store, session).await.as_deref(), Some("a/one"), "as it was decided");
    }
    let before = server.pin_commands().await;
    for session in taken.iter().cycle().take(80) {
        assert_eq!(model(&store, session).await.as_deref(), Some("a/one"));
    }
    // Some of them had their second over meanwhile.
    let made = server.pin_commands().await - before;
    assert!(made <= 40, "{made} commands for 80 turns");
    proxy.set(Mode::Refuse).await;
    proxy.cut();
    assert!(claim(&store, "other", "a/two").await.is_err());
    proxy.set(Mode::Pass).await;
    soon(Duration::from_secs(5), "Redis hears of the other", async || {
        model_in(&server, "other").await.as_deref() == Some("a/two")
    })
    .await;
    for session in &taken {
        server.run(&["DEL", &name(session)]).await;
    }
    soon(Duration::from_secs(5), "and of those, once their names are free", async || {
        for session in &taken {
            if model_in(&server, session).await.as_deref() != Some("a/one") {
                return false;
            }
        }
        true
    })
    .await;
}
