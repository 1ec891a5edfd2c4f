//! `replay`: what a recorded or generated trace would have cost without pins, with pins, and with pins that
//! give way where moving is cheaper.
//!
//! ```text
//! trace ─▶ call by call ─▶ three policies, each with its sessions ─▶ provider caches ─▶ prices ─▶ table
//! ```
//!
//! 1. A trace is read line by line and never held. What is kept grows with its sessions, which are bounded.
//! 2. The policies differ only in the model that answers a call. Prices and money are those of the ledger, and
//!    the decision of `cost` is that of the gateway.
//! 3. A provider's cache (`caches`) is modelled by what decides its price: what it has seen of the session, for
//!    how long, from how many tokens on.
//! 4. The same trace, prices and options give the same figures, to the last digit.
//!
//! `docs/replay.md` describes the format and has a table, which a test keeps true.

mod caches;
mod generate;
mod models;
mod policy;
mod table;
mod trace;

#[cfg(test)]
mod tests;

use std::io::BufRead;
use std::time::Duration;

use affinity_layer::mode::Share;

pub use self::generate::{Workload, generate};
pub use self::models::Models;
pub use self::policy::Outcome;
use self::policy::{Player, Policy};
pub use self::table::{json, lines};
use self::trace::Trace;
pub use self::trace::{Call, TraceError};

/// What the policies are played with.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long a pin lives after its last use.
    pub session_ttl: Duration,
    /// What moves of a session may cost, of what it has spent.
    pub max_switch_share: Share,
    /// A provider caches no prompt with fewer tokens.
    pub cache_min_tokens: u64,
}

/// Plays the trace in `input` with each policy, in the order of the table.
///
/// # Errors
///
/// The first line that cannot be played, and why.
pub fn play(
    input: impl BufRead,
    rules: &Rules,
    models: &mut Models,
) -> Result<Vec<Outcome>, TraceError> {
    let mut players = Policy::ALL.map(|policy| Player::new(policy, *rules));
    let mut trace = Trace::new(input);
    while let Some(call) = trace.next_call()? {
        let choice = models.find(&call.choice).map_err(|why| trace.fault("choice", why))?;
        for player in &mut players {
            player.play(&call, choice, models).map_err(|why| trace.fault("session", why))?;
        }
    }
    Ok(players.into_iter().map(Player::outcome).collect())
}
