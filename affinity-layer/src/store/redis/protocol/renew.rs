//! Tells Redis that a pin is in use, in the background.
//!
//! 1. `PEXPIRE name left GT`, and a read behind it, sent together. `GT` never brings the end of a pin
//!    forward: a replica with a shorter lifetime than that which made the pin changes nothing.
//! 2. It goes over the connection that near copies follow, because Redis reports a command to every
//!    connection but the one that sent it: the copy here stays. So may the report of a move in the same
//!    moment, which is why the pin is read behind the command; if that answer is lost, the copy is in
//!    doubt.
//! 3. A pin that nears its maximum age while an answer runs is marked by a script; see
//!    `scripts::OVERTIME`. Each replica with such an answer has a mark, and the pin ends with the last.
//! 4. A pin without the time of its claim, as the older system wrote, is renewed only while an answer
//!    runs.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::super::connection::Commands;
use super::super::epochs::EpochClock;
use super::super::errors::store_error;
use super::super::node::Node;
use super::super::renewals::{Cause, Renewal};
use super::read::{FoundPin, read_name, read_patiently};
use super::value::MAX_VALUE_LEN;
use super::{Protocol, millis, scripts};
use crate::store::AnswerState;
use crate::{Expiry, StoreError};

/// A use that is told to Redis.
struct Use {
    idle: Duration,
    max_age: Duration,
    claimed_at: Option<SystemTime>,
    at: Instant,
    answer: Option<AnswerState>,
}

/// Renews a pin, and returns it as Redis holds it then.
///
/// # Errors
///
/// As the commands failed. Whether the pin was renewed is then unknown.
pub(in crate::store::redis) async fn renew(
    protocol: &Protocol,
    clock: &EpochClock,
    renewal: &Renewal,
) -> Result<Option<FoundPin>, StoreError> {
    let Renewal { name, previous, cause, .. } = renewal;
    let renewed = async {
        let found = renew_name(protocol, clock, name, *cause).await?;
        match previous {
            Some(previous) if found.is_none() => {
                let found = renew_name(protocol, clock, previous, *cause).await?;
                Ok(found.map(|found| FoundPin { is_current: false, ..found }))
            }
            _ => Ok(found),
        }
    };
    match cause {
        Cause::Used { .. } => protocol.servers.write(name, renewed).await,
        Cause::Changed => protocol.servers.call(name, renewed).await,
    }
}

/// The same under one name.
async fn renew_name(
    protocol: &Protocol,
    clock: &EpochClock,
    name: &str,
    cause: Cause,
) -> Result<Option<FoundPin>, StoreError> {
    let look = Expiry::fixed(Duration::MAX);
    let Cause::Used { expiry, claimed_at, at, answer } = cause else {
        return read_patiently(protocol, name, &look).await;
    };
    let Some((idle, max_age)) = expiry.limits() else {
        return read_name(protocol, name, &look).await;
    };
    let mut told = Use { idle, max_age, claimed_at, at, answer };
    if claimed_at.is_none() {
        let Some(found) = read_name(protocol, name, &look).await? else {
            return Ok(None);
        };
        told.claimed_at = Some(found.pin.claimed_at);
        if told.is_in_time(found.left, clock) {
            return Ok(Some(found));
        }
    }
    if told.is_overtime(clock) {
        overtime(protocol, name, &told).await?;
        return read_name(protocol, name, &look).await;
    }
    let Some(left) = told.left(clock) else {
        return read_name(protocol, name, &look).await;
    };
    let renew =
        |commands: Commands| async move { commands.renew(name, millis(left), MAX_VALUE_LEN).await };
    let read = protocol.servers.run_over(Node::followed_commands, name, renew);
    super::read::found(protocol, name, read.await.map_err(store_error)?).await
}

/// Marks that an answer runs here, or takes the mark away.
async fn overtime(protocol: &Protocol, name: &str, told: &Use) -> Result<(), StoreError> {
    // In a cluster the part in braces leads to the node of the pin. No key has such a name.
    let marks = format!("{}%running{{{name}}}", protocol.names.prefix());
    let runs = i64::from(told.answer == Some(AnswerState::Running));
    let args = vec![
        marks.into(),
        protocol.replica.to_string().into(),
        runs.into(),
        millis(told.idle).into(),
        millis(told.max_age).into(),
    ];
    protocol.servers.eval::<i64>(scripts::OVERTIME, name, args).await.map(drop)
}

impl Use {
    /// The time until the maximum age; `None` if nobody knows when the pin was claimed.
    fn until_max_age(&self, clock: &EpochClock) -> Option<Duration> {
        clock.until(self.max_age, self.claimed_at?)
    }

    /// Whether the pin may live beyond its maximum age, or has done so.
    fn is_overtime(&self, clock: &EpochClock) -> bool {
        self.answer.is_some() && self.until_max_age(clock).is_some_and(|rest| rest < self.idle)
    }

    /// What the pin is to have left; `None` if this use gives it nothing.
    fn left(&self, clock: &EpochClock) -> Option<Duration> {
        let idle = self.idle.saturating_sub(self.at.elapsed());
        match self.answer {
            Some(AnswerState::Running) => Some(idle),
            _ => self.until_max_age(clock).map(|rest| idle.min(rest)),
        }
    }

    /// Whether a pin that has `left` needs no renewal yet.
    fn is_in_time(&self, left: Duration, clock: &EpochClock) -> bool {
        let wanted = self.left(clock).unwrap_or_default();
        match self.answer {
            Some(AnswerState::Ended) => !self.is_overtime(clock) && left >= wanted,
            _ => left + self.idle / 4 > wanted,
        }
    }
}
