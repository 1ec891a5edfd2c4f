//! What a server reports about itself while it is followed.
//!
//! One reading serves as the sign of life and tells four things: which run of the server answers,
//! its version, whether it is part of a cluster, and how often it was emptied. `INFO` has them all;
//! the sections `server` and `commandstats` are asked for, and nothing is written.
//!
//! Where an access list forbids `INFO`, the answer is still a sign of life, but copies cannot be
//! fresh: a flush would go unnoticed. The store then reads each turn from Redis and says so
//! (`no_invalidations`).

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::WithOptions;
use fred::error::Error;
use fred::prelude::{Client, ClientLike, FromValue, Options};
use fred::types::{ClusterHash, CustomCommand};

use crate::store::redis::{echo, is_refusal};

/// The longest wait for a sign of life.
const BEAT_TIMEOUT: Duration = Duration::from_millis(250);

/// Commands that empty a database or exchange it for another one. The client passes no invalidation
/// of those on.
const FLUSHES: [&str; 3] = ["cmdstat_flushall", "cmdstat_flushdb", "cmdstat_swapdb"];

/// What a server reports about itself. What an ACL forbids is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerState {
    /// Redis draws one at each start; another one means other data.
    pub(super) run_id: Option<String>,
    /// Such as `7.0.15`. A Valkey reports which Redis it is compatible with.
    pub(super) version: Option<String>,
    /// How often data was flushed or exchanged.
    pub(super) flushes: Option<u64>,
    /// It is a node of a cluster.
    pub(super) is_clustered: bool,
}

impl ServerState {
    /// Asks the server over `client`. Any answer is a sign of life, and so is a refusal.
    ///
    /// # Errors
    ///
    /// A command without an answer for 250 ms, a broken connection, or answers that belong to other
    /// commands.
    pub(super) async fn read(client: &Client) -> Result<Self, Error> {
        // Replies that are out of step must not pass for those of this server.
        echo(client, BEAT_TIMEOUT).await?;
        let client = client.with_options(&Options {
            fail_fast: true,
            timeout: Some(BEAT_TIMEOUT),
            ..Options::default()
        });
        // Redis before 7.0 knows no second section.
        let (server, commands) = tokio::try_join!(
            biased;
            section(&client, "server"),
            section(&client, "commandstats"),
        )?;
        let calls = |name: &&str| commands.as_ref()?.get(*name).and_then(|stats| calls(stats));
        let field = |name: &str| server.as_ref()?.get(name).cloned();
        Ok(Self {
            run_id: field("run_id"),
            version: field("redis_version"),
            is_clustered: field("redis_mode").is_some_and(|mode| mode == "cluster"),
            flushes: commands.as_ref().map(|_| FLUSHES.iter().filter_map(calls).sum()),
        })
    }

    /// The version, if it is known to lack what pins need: `SET` with `NX` and `GET` came with 7.0.
    pub(super) fn too_old(&self) -> Option<&str> {
        let version = self.version.as_deref()?;
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        (major? < 7).then_some(version)
    }
}

/// A section of `INFO`; nothing where an access list forbids it.
async fn section(
    client: &WithOptions<Client>,
    name: &'static str,
) -> Result<Option<HashMap<String, String>>, Error> {
    let text = match custom::<Bytes>(client, "INFO", name).await {
        Ok(text) => text,
        Err(error) if is_refusal(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&text);
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok(Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

async fn custom<T: FromValue>(
    client: &WithOptions<Client>,
    command: &'static str,
    arg: &'static str,
) -> Result<T, Error> {
    let command = CustomCommand::new_static(command, ClusterHash::Random, false);
    client.custom(command, vec![arg]).await
}

/// The count in `calls=1,usec=...`.
fn calls(stats: &str) -> Option<u64> {
    stats.strip_prefix("calls=")?.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_7_0_is_too_old() {
        for (version, too_old) in
            [("6.2.14", true), ("5.0", true), ("7.0.0", false), ("8.2.1", false), ("10.0", false)]
        {
            let state = ServerState { version: Some(version.to_owned()), ..ServerState::default() };
            assert_eq!(state.too_old(), too_old.then_some(version));
        }
        // Where it is not told, the probe has to find out.
        assert_eq!(ServerState::default().too_old(), None);
    }
}
