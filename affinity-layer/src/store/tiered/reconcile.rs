//! Tells Redis what was decided here while it was away.
//!
//! Without this task a change would wait for the session's next request, which may come to another
//! replica, and a release would perhaps never be told. A few are sent at a time, so that a Redis that has
//! just come back is not flooded. One that fails is left until the others had their turn: what one node
//! of a cluster refuses must not hold up what the others would take.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::settle::settle;
use super::shared::Shared;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// After a batch of which nothing was taken.
const RETRY: Duration = Duration::from_millis(50);

/// How many names are looked up at once.
const BATCH: usize = 64;

/// How many are sent at a time.
const AT_ONCE: usize = 8;

/// Runs for as long as the store lives.
///
/// Names whose server is still away are passed over, and so are those that were refused within the
/// last second.
pub(super) async fn reconcile(shared: Arc<Shared>) {
    let mut failed = HashSet::new();
    loop {
        let is_next = |name: &str| shared.is_there(name) && !failed.contains(name);
        let names = shared.pending.some(BATCH, is_next);
        if names.is_empty() {
            failed.clear();
            sleep(PAUSE).await;
            continue;
        }
        let (count, refused) = (names.len(), settle_all(&shared, names).await);
        if refused.len() == count {
            sleep(RETRY).await;
        }
        failed.extend(refused);
    }
}

/// Sends what waits for `names`, and returns those for which that failed.
async fn settle_all(shared: &Arc<Shared>, names: Vec<String>) -> Vec<String> {
    let (mut names, mut sent, mut failed) = (names.into_iter(), JoinSet::new(), Vec::new());
    let mut send = |sent: &mut JoinSet<_>| {
        if let Some(name) = names.next() {
            let shared = shared.clone();
            sent.spawn(async move {
                let told = settle(&shared, &name).await;
                (name, told.is_ok())
            });
        }
    };
    (0..AT_ONCE).for_each(|_| send(&mut sent));
    while let Some(ended) = sent.join_next().await {
        failed.extend(ended.ok().filter(|(_, told)| !told).map(|(name, _)| name));
        send(&mut sent);
    }
    failed
}
