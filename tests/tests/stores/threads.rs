//! Reads from threads that have a runtime of their own.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use affinity_layer::{AffinityStore, RedisStore};
use affinity_tests::redis::RedisServer;
use affinity_tests::until;
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::support::{LONG, get, key, options, selection};

/// The last commands of the connections, but for that which asks.
async fn last_commands(server: &RedisServer) -> Vec<String> {
    let list = server.run(&["CLIENT", "LIST", "TYPE", "normal"]).await;
    let word = |line: &str| {
        line.split(' ').find_map(|field| field.strip_prefix("cmd=")).map(str::to_owned)
    };
    let words = list.text().unwrap_or_default().lines().filter_map(word);
    words.filter(|word| word != "client|list").collect()
}

async fn readers(server: &RedisServer) -> usize {
    last_commands(server).await.iter().filter(|last| *last == "pttl").count()
}

/// A thread with a runtime of its own that reads a session whenever it is told to, and says whether it
/// found the pin. It ends when it is told nothing any more.
fn thread_that_reads(store: &RedisStore) -> (mpsc::Sender<()>, mpsc::Receiver<bool>) {
    let (store, (ask, asked), (tell, told)) = (store.clone(), mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        while asked.recv().is_ok() {
            let found = runtime.block_on(async {
                let found = get(&store, "known").await;
                // Meanwhile its connection is made.
                sleep(Duration::from_millis(20)).await;
                found
            });
            if tell.send(found.is_ok_and(|pin| pin.is_some())).is_err() {
                return;
            }
        }
    });
    (ask, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_of_its_own_reads_over_a_connection_of_its_own() {
    let server = RedisServer::start().await;
    let store = RedisStore::new(&options(&server.url())).unwrap();
    let session = key("known");
    until(async || store.claim(&session, selection("a/one"), &LONG).await.is_ok()).await;
    assert!(get(&store, "known").await.unwrap().is_some());
    assert_eq!(last_commands(&server).await.len(), 1, "the shared one");

    let threads = [(); 2].map(|()| thread_that_reads(&store));
    let read = || {
        let found =
            threads.each_ref().map(|(ask, told)| ask.send(()).is_ok() && told.recv() == Ok(true));
        found == [true; 2]
    };
    // The shared one may have asked for the time since it read.
    let each_reads =
        async || last_commands(&server).await.len() == 3 && readers(&server).await >= 2;
    until(async || read() && each_reads().await).await;
    // No read fails while connections are made, and changes go where they went.
    store.release(&session, None).await.unwrap();
    assert!(!read());
    assert!(store.claim(&session, selection("a/two"), &LONG).await.unwrap().won);
    assert!(read());

    server.client_kill_normal().await;
    // One of them may have read over the shared connection meanwhile.
    until(async || read() && readers(&server).await >= 2).await;
    drop(threads);
    until(async || last_commands(&server).await.len() == 1).await;
}
