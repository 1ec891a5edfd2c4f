//! One wait for a replica of Redis serves all who ask for it at the same time.
//!
//! `WAIT` is about a connection, not about a write: it covers everything that was written before
//! it. So while one wait is under way, the others queue, and one more wait that begins after they
//! asked is enough for all of them. With a hundred claims at once that is two waits instead of a
//! hundred, one behind the other.
//!
//! A wait that began *before* a caller asked does not count for it: its own write may have come
//! later.

use fred::error::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The last wait for a replica, shared by all who asked before it began.
#[derive(Debug, Default)]
pub(crate) struct ReplicaWait(Mutex<Option<(Instant, bool)>>);

impl ReplicaWait {
    /// Whether a replica holds what was written before this call. `wait` asks Redis, and returns the
    /// number of replicas that hold it.
    pub(crate) async fn held(
        &self,
        wait: impl Future<Output = Result<i64, Error>>,
    ) -> Result<bool, Error> {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((began, held)) = *last
            && began > asked
        {
            return Ok(held);
        }
        let began = Instant::now();
        let held = wait.await? > 0;
        *last = Some((began, held));
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_at_once_share_a_wait_that_began_after_they_asked() {
        for held in [0, 1] {
            let (replicas, waits) =
                (Arc::new(ReplicaWait::default()), Arc::new(AtomicUsize::new(0)));
            let mut asked = JoinSet::new();
            for _ in 0..100 {
                let (replicas, waits) = (replicas.clone(), waits.clone());
                asked.spawn(async move {
                    let wait = async {
                        waits.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(25)).await;
                        Ok(held)
                    };
                    replicas.held(wait).await.unwrap()
                });
            }
            assert_eq!(asked.join_all().await, [held == 1; 100]);
            // Time stands still until the first wait is under way, and it does not count for the rest.
            assert_eq!(waits.load(Ordering::Relaxed), 2);
        }
    }
}
