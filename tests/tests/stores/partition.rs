//! A partition with both sides writing: the primary is cut off together with some gateways, and the
//! other side makes another primary.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use affinity_layer::{AffinityStore, Epoch, TieredStore};
use affinity_tests::redis::{LEFT, RIGHT, SplitSet};
use tokio::task::JoinSet;

use crate::support::{LONG, claim, key, model, options, selection, soon, tiered, turn};

/// Sessions first seen on both sides, and as many that move on both.
const SESSIONS: usize = 200;

/// A command timeout as it is set in the gateway, doubled for a busy machine.
const TIMEOUT: Duration = Duration::from_millis(100);

/// How soon a side must be itself again.
const SOON: Duration = Duration::from_secs(20);

/// Two gateways, one on each side.
#[derive(Clone)]
struct Gateways {
    left: TieredStore,
    right: TieredStore,
}

/// What clients were told since the partition: the models of each session.
type Told = BTreeMap<String, BTreeSet<String>>;

impl Gateways {
    async fn start(set: &SplitSet, replicated: bool) -> Self {
        let options = |side| options(&set.url(side)).command_timeout(TIMEOUT);
        let left = tiered(&options(LEFT).replicated(replicated)).await;
        Self { left, right: tiered(&options(RIGHT).replicated(replicated)).await }
    }

    /// Every session asks for another model on each side, and then has a further turn there.
    async fn ask_on_both_sides(&self, names: &[(String, Option<Epoch>)]) -> Told {
        let mut asked = JoinSet::new();
        for (session, from) in names.iter().cloned() {
            asked.spawn(Box::pin(self.clone().both(session, from)));
        }
        asked.join_all().await.into_iter().collect()
    }

    /// What is told that was not before the partition.
    async fn both(self, session: String, from: Option<Epoch>) -> (String, BTreeSet<String>) {
        let mut told = BTreeSet::new();
        for (store, wanted) in [(&self.left, "a/left"), (&self.right, "a/right")] {
            let changed = match from {
                None => claim(store, &session, wanted).await.map(Some),
                Some(epoch) => {
                    let wanted = selection(wanted);
                    Box::pin(store.repin(&key(&session), epoch, wanted, &LONG)).await
                }
            };
            let changed = changed.ok().flatten().map(|claim| claim.pin);
            let pins = [changed, turn(store, &session, &LONG).await];
            let new = pins.into_iter().flatten().filter(|pin| Some(pin.epoch) != from);
            told.extend(new.map(|pin| pin.selection.model().to_string()));
        }
        (session, told)
    }
}

#[tokio::test]
async fn a_partition_splits_no_session_where_pins_are_replicated() {
    let set = SplitSet::start().await;
    let mut modes = Vec::new();
    for (name, replicated) in [("replicated", true), ("primary", false)] {
        let gateways = Gateways::start(&set, replicated).await;
        let mut names: Vec<_> =
            (0..SESSIONS).map(|n| (format!("{name}-first-{n}"), None)).collect();
        for session in (0..SESSIONS).map(|n| format!("{name}-moves-{n}")) {
            let pin = claim(&gateways.left, &session, "a/one").await.unwrap().pin;
            assert_eq!(model(&gateways.right, &session).await.as_deref(), Some("a/one"));
            names.push((session, Some(pin.epoch)));
        }
        modes.push((name, gateways, names));
    }
    let old = set.part().await;
    for (name, gateways, names) in &modes {
        soon(SOON, "the right side claims again", async || {
            claim(&gateways.right, name, "a/right").await.is_ok()
        })
        .await;
        let told = gateways.ask_on_both_sides(names).await;
        assert!(told.values().all(|models| models.contains("a/right")), "{name}: one side goes on");
        let splits = told.values().filter(|models| models.len() > 1).count();
        // What the mode is good for shows by what happens without it.
        assert_eq!(splits, if *name == "primary" { 2 * SESSIONS } else { 0 }, "{name}");
    }
    set.heal(old).await;
    for (name, gateways, names) in &modes {
        for (session, _) in names {
            soon(
                SOON,
                &format!("{name}: {session} has the model of the new primary"),
                async || {
                    let (left, right) = (&gateways.left, &gateways.right);
                    let both = (model(left, session).await, model(right, session).await);
                    both == (Some("a/right".to_owned()), Some("a/right".to_owned()))
                },
            )
            .await;
        }
    }
}
