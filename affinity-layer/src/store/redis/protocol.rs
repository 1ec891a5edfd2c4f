//! How pins are read and changed in Redis, so that replicas agree.
//!
//! | step | where |
//! |---|---|
//! | read a pin | `read.rs` |
//! | tell that it is used | `renew.rs` |
//! | first writer wins | `claim.rs` |
//! | move or release by epoch | `change.rs` |
//! | wait until a replica of Redis holds a change | `confirm.rs` |
//! | try whether all of it is possible | `probe.rs` |
//! | what takes more than one command and must be one step | `scripts.rs` |
//! | the stored JSON | `value.rs` |
//!
//! Each step is a function over `Protocol`, which has no state of its own: two calls can only meet
//! in Redis. `docs/protocol.md` has the rules, and the model checker's findings.
//!
//! Names come in two schemes while a secret is exchanged. A read asks for both; a claim looks under
//! the previous name first and writes the current one; a move stays under the name where the pin
//! is; a release removes both.
//!
//! Each script has one name, so in a cluster it runs on one node.

mod change;
mod claim;
mod confirm;
mod probe;
mod read;
mod renew;
mod scripts;
pub(super) mod value;

use std::sync::Arc;
use std::time::Duration;

pub(super) use self::change::{move_name, move_pin, release_name, release_pin};
pub(super) use self::claim::claim_pin;
pub(super) use self::confirm::confirmed;
pub(super) use self::probe::{is_of_a_cluster, probe};
pub(crate) use self::read::FoundPin;
pub(super) use self::read::read_pin;
pub(super) use self::renew::renew;
use super::cluster::Servers;
use super::names::Names;

/// What every step of the protocol needs.
///
/// A `RedisStore` has one, shared with the tasks that a listing spawns.
pub(super) struct Protocol {
    pub(super) servers: Arc<Servers>,
    pub(super) names: Names,
    /// What distinguishes this process where several mark the same pin.
    pub(super) replica: u64,
    /// How long a claim or a move waits for a replica of Redis, in milliseconds; `None` where pins
    /// count without one.
    pub(super) replica_wait: Option<i64>,
}

impl Protocol {
    /// Whether pins count only once a replica of Redis holds them.
    pub(super) fn is_replicated(&self) -> bool {
        self.replica_wait.is_some()
    }
}

/// A time span as Redis takes it, in milliseconds: at least one, at most some hundred years.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX).clamp(1, 1 << 42)
}
