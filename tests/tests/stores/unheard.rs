//! A change whose caller has given up, and which is made all the same, late.
//!
//! Redis does not report a connection's own changes to it, those of a script apart. A thread that read
//! the pin over a connection of its own in between would otherwise never hear of the change.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use affinity_layer::{AffinityStore, TieredStore};
use affinity_tests::redis::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::support::{LONG, claim, key, model, model_in, options, selection, soon, tiered};

/// Stands before `server` and holds the commands of the first connection back while it is told to.
async fn holds_the_first_connection_back(
    server: SocketAddr,
    held: watch::Receiver<bool>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for count in 0.. {
            let (client, _) = listener.accept().await.unwrap();
            let ((mut client, mut to_client), (mut replies, mut to_server)) =
                (client.into_split(), TcpStream::connect(server).await.unwrap().into_split());
            tokio::spawn(async move { copy(&mut replies, &mut to_client).await });
            let mut held = held.clone();
            tokio::spawn(async move {
                let mut commands = vec![0; 4096];
                while let Ok(length @ 1..) = client.read(&mut commands).await {
                    if count == 0 {
                        let _ = held.wait_for(|held| !held).await;
                    }
                    let _ = to_server.write_all(&commands[..length]).await;
                }
            });
        }
    });
    addr
}

/// A thread with a runtime of its own, which reads over a connection of its own. It tells the model of
/// a session whenever it is asked.
fn reader(store: &TieredStore) -> impl Fn(&str) -> Option<String> + use<> {
    let (store, (ask, asked), (tell, told)) =
        (store.clone(), mpsc::channel::<String>(), mpsc::channel());
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        while let Ok(session) = asked.recv() {
            let found = runtime.block_on(async {
                let peeked = store.peek(&key(&session), &LONG);
                let found = match peeked {
                    Some(pin) => Some(pin.selection.model().to_string()),
                    None => model(&store, &session).await,
                };
                // Meanwhile its connection is made.
                sleep(Duration::from_millis(20)).await;
                found
            });
            if tell.send(found).is_err() {
                return;
            }
        }
    });
    move |session| {
        ask.send(session.to_owned()).unwrap();
        told.recv().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_change_that_is_made_after_its_caller_gave_up_is_seen_here_too() {
    let server = RedisServer::start().await;
    let (hold, held) = watch::channel(false);
    let addr = holds_the_first_connection_back(server.addr(), held).await;
    let store = tiered(&options(&format!("redis://{addr}"))).await;
    let read = reader(&store);
    let pin = claim(&store, "s", "a/one").await.unwrap().pin;
    // Sessions without a copy here have the thread's own connection made.
    for n in 0..20 {
        assert_eq!(read(&format!("none-{n}")), None);
    }
    hold.send_replace(true);
    let session = key("s");
    let moving = store.repin(&session, pin.epoch, selection("a/two"), &LONG);
    assert!(timeout(Duration::from_millis(5), moving).await.is_err());
    assert_eq!(read("s").as_deref(), Some("a/one"), "what Redis holds");
    hold.send_replace(false);
    soon(Duration::from_secs(2), "the move is made", async || {
        model_in(&server, "s").await.as_deref() == Some("a/two")
    })
    .await;
    soon(Duration::from_secs(2), "it is seen here", async || read("s").as_deref() == Some("a/two"))
        .await;
}
