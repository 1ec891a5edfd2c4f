//! Replies that are lost: what follows them must not answer the wrong commands.

use std::time::Duration;

use affinity_layer::{RedisStore, TieredStore};
use affinity_tests::redis::{Liar, RedisServer};

use crate::support::{claim, get, options, redis, soon, until_unready};

/// How soon a connection that lost a reply must be replaced.
const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_connection_that_lost_a_reply_is_replaced_though_others_keep_it_busy() {
    let server = RedisServer::start().await;
    let liar = Liar::start(server.addr()).await;
    let plain = redis(&options(&server.url())).await;
    let url = format!("redis://{}", liar.addr());
    let options = options(&url).command_timeout(Duration::from_millis(100));
    // Without near copies each turn is a command.
    let store = TieredStore::always_read(RedisStore::new(&options).unwrap(), 1000);
    until_unready(&store, None).await;
    for n in 0..20 {
        claim(&plain, &format!("s-{n}"), &format!("a/m{n}")).await.unwrap();
    }
    for round in 0..3 {
        liar.say(Some(b""));
        assert!(get(&store, "lost").await.is_err(), "{round}");
        liar.say(None);
        let all_right = async || {
            for n in 0..20 {
                match get(&store, &format!("s-{n}")).await {
                    Ok(Some(pin)) => {
                        let model = pin.selection.model().as_str();
                        assert_eq!(model, format!("a/m{n}"), "a pin of another session");
                    }
                    _ => return false,
                }
            }
            true
        };
        soon(SOON, "each command has its own reply", all_right).await;
    }
}
