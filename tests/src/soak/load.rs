//! The clients: one session after the other, with turns of several kinds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::client::{Client, End};
use super::stubs::Stub;
use super::tally::{Tally, count};
use crate::integrity::Rng;

/// After this a request counts as stuck: more than all limits of the gateway here together.
const LIMIT: Duration = Duration::from_secs(20);

/// What all clients share.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) client: Client,
    pub(super) provider: Arc<Stub>,
    pub(super) tally: Tally,
    pub(super) nonces: AtomicU64,
    pub(super) ending: watch::Receiver<bool>,
}

impl Load {
    /// One client after the other, until the end.
    pub(super) async fn work(self: Arc<Self>, worker: u64) {
        let mut rng = Rng::new(1, worker);
        let mut number = 0;
        while !*self.ending.borrow() {
            number += 1;
            self.session(&format!("s-{worker}-{number}"), &mut rng).await;
        }
    }

    async fn session(&self, session: &str, rng: &mut Rng) {
        let mut models = HashMap::new();
        for _ in 0..rng.within(3..10) {
            match rng.within(0..100) {
                0..4 => {
                    count(&self.tally.half_open);
                    self.client.fall_silent().await;
                }
                4..9 => {
                    let patience = Duration::from_millis(rng.within(1..10));
                    self.turn(session, Duration::ZERO, Some(patience), &mut models).await;
                }
                9..14 => self.turn(session, Duration::from_millis(60), None, &mut models).await,
                _ => self.turn(session, Duration::ZERO, None, &mut models).await,
            }
            sleep(Duration::from_millis(rng.within(20..200))).await;
        }
    }

    async fn turn(
        &self,
        session: &str,
        pause: Duration,
        patience: Option<Duration>,
        models: &mut HashMap<u64, String>,
    ) {
        let tally = &self.tally;
        let nonce = self.nonces.fetch_add(1, Relaxed);
        count(&tally.sent);
        let wrong_before = tally.fault.load(Relaxed);
        let limit = patience.unwrap_or(LIMIT);
        let end = timeout(limit, self.client.ask(session, nonce, pause)).await;
        let unexplained = !wrong_before && !tally.fault.load(Relaxed);
        match &end {
            Ok(End::Whole(pinned)) => {
                count(&tally.whole);
                if let Some(epoch) = pinned.epoch
                    && *models.entry(epoch).or_insert(pinned.model.clone()) != pinned.model
                {
                    count(&tally.splits);
                }
            }
            Ok(End::Refused) => count(&tally.refused),
            Ok(End::Broken) => count(&tally.broken),
            Err(_) if patience.is_some() => count(&tally.given_up),
            Err(_) => count(&tally.stuck),
        }
        if unexplained && matches!(end, Ok(End::Refused | End::Broken)) {
            count(&tally.unexplained);
        }
        if end.is_err() {
            // What was given up may be on its way to the provider still.
            sleep(Duration::from_millis(100)).await;
        }
        match (end, self.provider.take(nonce)) {
            (Ok(End::Whole(_)), 0) => count(&tally.lost),
            (_, 2..) => count(&tally.doubled),
            _ => {}
        }
    }
}
