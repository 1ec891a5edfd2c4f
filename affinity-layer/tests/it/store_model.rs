//! Random steps on the memory store, beside a plain map that does the same.
//!
//! `PROPTEST_CASES` makes it run for longer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use affinity_layer::{
    AffinityKey, AffinityStore, Epoch, Expiry, MemoryStore, Pin, Scope, Selection,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::model;

/// Keys of few parts, which a careless store would take for one another.
const KEYS: [(&str, &str, &str); 6] = [
    ("", "s", ""),
    ("a", "s", ""),
    ("b", "s", ""),
    ("", "a:s", ""),
    ("a", "s", "l"),
    ("", "s", "l"),
];

#[derive(Clone, Debug)]
enum Step {
    Claim(usize, u8),
    Get(usize),
    Peek(usize),
    Repin(usize, Which, u8),
    Release(usize, Option<Which>),
    /// Milliseconds.
    Wait(u64),
}

/// The epoch of a change: the one that stands, or any that was ever told.
#[derive(Clone, Debug)]
enum Which {
    Standing,
    Told(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    let which =
        || prop_oneof![2 => Just(Which::Standing), 1 => any::<Index>().prop_map(Which::Told)];
    prop_oneof![
        3 => (key(), any::<u8>()).prop_map(|(key, model)| Step::Claim(key, model)),
        2 => key().prop_map(Step::Get),
        2 => key().prop_map(Step::Peek),
        2 => (key(), which(), any::<u8>()).prop_map(|(key, from, to)| Step::Repin(key, from, to)),
        1 => (key(), prop::option::of(which())).prop_map(|(key, from)| Step::Release(key, from)),
        2 => prop_oneof![Just(1_u64), Just(999), Just(1000), 0..2500_u64].prop_map(Step::Wait),
    ]
}

/// Time to live, and the greatest age if it slides, in milliseconds.
type Lifetime = (u64, Option<u64>);

fn lifetime() -> impl Strategy<Value = Lifetime> {
    (prop_oneof![Just(1000), 1..4000_u64], prop::option::of(1..8000_u64))
}

#[derive(Clone, Debug)]
struct Held {
    model: u8,
    epoch: Epoch,
    claimed: u64,
    until: u64,
}

struct Reference {
    lifetime: Lifetime,
    now: u64,
    pins: HashMap<usize, Held>,
    last: HashMap<usize, Epoch>,
    told: Vec<Epoch>,
}

impl Reference {
    fn standing(&self, key: usize) -> Option<Held> {
        self.pins.get(&key).filter(|held| self.now < held.until).cloned()
    }

    /// The end of a pin that is used or made anew at this moment.
    fn until(&self, claimed: u64) -> u64 {
        let (ttl, max_age) = self.lifetime;
        let end = self.now + ttl;
        max_age.map_or(end, |max_age| end.min(claimed + max_age))
    }

    fn used(&mut self, key: usize) -> Option<Held> {
        let mut held = self.standing(key)?;
        if self.lifetime.1.is_some() {
            held.until = self.until(held.claimed);
            self.pins.insert(key, held.clone());
        }
        Some(held)
    }

    fn claimed(&mut self, key: usize, model: u8, epoch: Epoch) {
        assert!(self.last.get(&key).is_none_or(|last| *last < epoch), "epochs grow");
        let (claimed, until) = (self.now, self.until(self.now));
        self.pins.insert(key, Held { model, epoch, claimed, until });
        self.told(key, epoch);
    }

    fn moved(&mut self, key: usize, model: u8, epoch: Epoch) {
        assert!(self.last[&key] < epoch, "epochs grow");
        let claimed = self.pins[&key].claimed;
        let until = self.until(claimed);
        self.pins.insert(key, Held { model, epoch, claimed, until });
        self.told(key, epoch);
    }

    fn told(&mut self, key: usize, epoch: Epoch) {
        self.last.insert(key, epoch);
        self.told.push(epoch);
    }

    fn epoch(&self, key: usize, which: &Which) -> Epoch {
        match (which, self.pins.get(&key)) {
            (Which::Standing, Some(held)) => held.epoch,
            (Which::Told(index), _) if !self.told.is_empty() => *index.get(&self.told),
            _ => Epoch(0),
        }
    }
}

fn key(number: usize) -> AffinityKey {
    let (scope, session, lane) = KEYS[number];
    let key = AffinityKey::new(session).unwrap().with_scope(Scope::new(scope).ok());
    if lane.is_empty() { key } else { key.with_lane(lane).unwrap() }
}

fn selection(number: u8) -> Arc<Selection> {
    Arc::new(Selection::of(model(&format!("vendor/m{number}"))))
}

fn told(pin: Option<Pin>) -> Option<(Arc<Selection>, Epoch)> {
    pin.map(|pin| (pin.selection, pin.epoch))
}

fn expected(held: Option<Held>) -> Option<(Arc<Selection>, Epoch)> {
    held.map(|held| (selection(held.model), held.epoch))
}

async fn agree(steps: &[Step], lifetime: Lifetime) {
    let (ttl, max_age) = (Duration::from_millis(lifetime.0), lifetime.1.map(Duration::from_millis));
    let expiry = max_age.map_or(Expiry::fixed(ttl), |max_age| Expiry::sliding(ttl, max_age));
    let store = MemoryStore::default();
    let (pins, last, known) = Default::default();
    let mut reference = Reference { lifetime, now: 0, pins, last, told: known };
    for step in steps {
        match step {
            Step::Claim(name, to) => {
                let claim = store.claim(&key(*name), selection(*to), &expiry).await.unwrap();
                let standing = reference.standing(*name);
                assert_eq!(claim.won, standing.is_none(), "{step:?}");
                if claim.won {
                    reference.claimed(*name, *to, claim.pin.epoch);
                }
                assert_eq!(told(Some(claim.pin)), expected(reference.standing(*name)), "{step:?}");
            }
            Step::Get(name) => {
                let pin = store.get(&key(*name), &expiry).await.unwrap().pin();
                assert_eq!(told(pin), expected(reference.used(*name)), "{step:?}");
            }
            Step::Peek(name) => {
                let pin = store.peek(&key(*name), &expiry);
                assert_eq!(told(pin), expected(reference.used(*name)), "{step:?}");
            }
            Step::Repin(name, from, to) => {
                let from = reference.epoch(*name, from);
                let standing = reference.standing(*name);
                let moved = store.repin(&key(*name), from, selection(*to), &expiry).await.unwrap();
                let moves = standing.as_ref().map(|held| held.epoch == from);
                assert_eq!(moved.as_ref().map(|claim| claim.won), moves, "{step:?}");
                if let (Some(claim), Some(true)) = (&moved, moves) {
                    reference.moved(*name, *to, claim.pin.epoch);
                }
                let standing = reference.pins.get(name).filter(|_| moved.is_some()).cloned();
                assert_eq!(told(moved.map(|claim| claim.pin)), expected(standing), "{step:?}");
            }
            Step::Release(name, from) => {
                let from = from.as_ref().map(|from| reference.epoch(*name, from));
                let standing = reference.standing(*name);
                let goes = standing.is_some_and(|held| from.is_none_or(|from| from == held.epoch));
                let gone = store.release(&key(*name), from).await.unwrap();
                assert_eq!(gone, goes, "{step:?}");
                if goes {
                    reference.pins.remove(name);
                }
            }
            Step::Wait(millis) => {
                tokio::time::advance(Duration::from_millis(*millis)).await;
                reference.now += millis;
            }
        }
    }
    for (name, parts) in KEYS.iter().enumerate() {
        let pin = store.peek(&key(name), &expiry);
        assert_eq!(told(pin), expected(reference.used(name)), "at the end, {parts:?}");
    }
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(1000), failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_memory_store_does_as_a_plain_map(steps in vec(step(), 1..80), lifetime in lifetime()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(agree(&steps, lifetime));
    }
}
