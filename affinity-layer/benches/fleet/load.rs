//! What one replica does: ten new sessions a second, whatever the size of the fleet.
//!
//! A session has four turns within a second, as an agent's loop: three at the replica that claimed
//! it, and the third one at the next replica, as behind a balancer that does not always keep a session
//! where it was. Its pin expires after four seconds, so that as many pins expire as are claimed.

use std::sync::Arc;
use std::time::Duration;

use affinity_benches::{Failure, key, selection};
use affinity_layer::{
    AffinityStore, Expiry, PinRead, RedisOptions, RedisStore, Selection, TieredStore,
};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Between two new sessions of one replica.
const PACE: Duration = Duration::from_millis(100);

/// Between two turns of a session.
const THINKING: Duration = Duration::from_millis(250);

const EXPIRY: Expiry = Expiry::fixed(Duration::from_secs(4));

/// Runs `count` replicas from number `first` on, of a fleet of `of`, until the process is killed.
pub(crate) fn run(url: &str, first: &str, count: &str, of: &str) -> Result<(), Failure> {
    let (first, count, of): (u64, u64, u64) = (first.parse()?, count.parse()?, of.parse()?);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let options = RedisOptions::from_url(url)?.command_timeout(Duration::from_secs(5));
        let mut replicas = JoinSet::new();
        for number in first..first + count {
            let store = TieredStore::new(RedisStore::new(&options)?, 10_000);
            replicas.spawn(replica(store, number, of));
        }
        replicas.join_all().await;
        Ok(())
    })
}

/// A replica for as long as the process lives.
async fn replica(store: TieredStore, number: u64, of: u64) {
    store.wait_ready(Duration::from_secs(30)).await;
    let selection = selection();
    let (mut ticks, mut sessions) = (interval(PACE), JoinSet::new());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0.. {
        ticks.tick().await;
        while sessions.try_join_next().is_some() {}
        let own = Session { replica: number, n };
        sessions.spawn(home(store.clone(), own, selection.clone()));
        // The one that its neighbour began meanwhile.
        let others = Session { replica: (number + of - 1) % of, n };
        sessions.spawn(visit(store.clone(), others, selection.clone()));
    }
}

/// Which session of which replica.
#[derive(Clone, Copy)]
struct Session {
    replica: u64,
    n: u64,
}

/// The turns at the replica that claims the session.
async fn home(store: TieredStore, session: Session, selection: Arc<Selection>) {
    for pause in [0, 1, 2] {
        sleep(THINKING * pause).await;
        turn(&store, session, &selection).await;
    }
}

/// The turn at another replica.
async fn visit(store: TieredStore, session: Session, selection: Arc<Selection>) {
    sleep(THINKING * 2).await;
    turn(&store, session, &selection).await;
}

/// A turn as the layer makes it, but for the answer.
async fn turn(store: &TieredStore, session: Session, selection: &Arc<Selection>) {
    let key = key(session.replica << 40 | session.n);
    if store.peek(&key, &EXPIRY).is_some() {
        return;
    }
    if let Ok(PinRead::Absent) = store.get(&key, &EXPIRY).await {
        // Whoever wins is right.
        let _ = store.claim(&key, selection.clone(), &EXPIRY).await;
    }
}
