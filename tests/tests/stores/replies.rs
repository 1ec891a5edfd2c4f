//! A Redis that says what it should not.

use affinity_tests::redis::{Liar, RedisServer};
use tokio::time::Instant;

use crate::support::{CALM, answers, claim, get, options, redis};

#[tokio::test]
async fn whatever_it_says_is_an_error_in_time_and_passes() {
    let server = RedisServer::start().await;
    let liar = Liar::start(server.addr()).await;
    let store = redis(&options(&format!("redis://{}", liar.addr()))).await;
    let pin = claim(&store, "s", "a/one").await.unwrap().pin;
    let rows: [&[u8]; 15] = [
        b"-MISCONF Redis is configured to save RDB snapshots, but it is unable to\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        b"-MOVED 1 127.0.0.1:1\r\n",
        b"-ASK 1 127.0.0.1:1\r\n",
        b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
        b"-ERR max number of clients reached\r\n",
        b"-ERR max number of clients reached\r\n(cut)",
        b"$100\r\n{\"model_name\":\"a/two\"(cut)",
        b"*1000000\r\n$1\r\n(cut)",
        b":42\r\n",
        b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n-ERR no\r\n",
        b"no reply at all\r\n",
    ];
    for words in rows {
        let shown = String::from_utf8_lossy(words).into_owned();
        liar.say(Some(words));
        for _ in 0..3 {
            let began = Instant::now();
            let read = get(&store, "s").await;
            assert!(!matches!(read, Ok(Some(_))), "{shown}: {read:?}");
            let written = claim(&store, "other", "a/two").await;
            assert!(written.is_err(), "{shown}: {written:?}");
            assert!(began.elapsed() < 4 * CALM, "{shown}: {:?}", began.elapsed());
        }
        liar.say(None);
        answers(&store).await;
        assert_eq!(get(&store, "s").await.unwrap(), Some(pin.clone()), "{shown}");
    }
}
