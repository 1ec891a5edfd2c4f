//! What a server reports about itself while it is followed.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::WithOptions;
use fred::error::Error;
use fred::prelude::{Client, ClientInterface, ClientLike, Options};
use fred::types::{ClusterHash, CustomCommand};

/// The longest wait for a sign of life.
const BEAT_TIMEOUT: Duration = Duration::from_millis(250);

/// Who is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Followed {
    /// Whether it brings invalidations.
    pub(super) coherent: bool,
    /// Redis draws one at each start; another one means other data. Empty if it is not reported.
    pub(super) run_id: String,
    /// Such as `7.0.15`; empty if it is not reported. A Valkey reports which Redis it is compatible with.
    pub(super) version: String,
    /// How often data was flushed. The client does not pass on the invalidation of a flush.
    pub(super) flushes: u64,
}

pub(super) async fn sign_of_life(client: &Client) -> Result<Followed, Error> {
    let client = client.with_options(&Options {
        fail_fast: true,
        timeout: Some(BEAT_TIMEOUT),
        ..Options::default()
    });
    client.client_id::<i64>().await?;
    let info = info(&client).await.unwrap_or_default();
    let calls = |name| info.get(name).and_then(|stats| calls(stats)).unwrap_or_default();
    Ok(Followed {
        coherent: false,
        run_id: info.get("run_id").cloned().unwrap_or_default(),
        version: info.get("redis_version").cloned().unwrap_or_default(),
        flushes: calls("cmdstat_flushall") + calls("cmdstat_flushdb"),
    })
}

impl Followed {
    /// Whether it is known to lack what pins need: `SET` with `NX` and `GET` came with 7.0.
    pub(super) fn is_too_old(&self) -> bool {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major < 7)
    }
}

/// Nothing where an access list forbids it.
async fn info(client: &WithOptions<Client>) -> Result<HashMap<String, String>, Error> {
    let command = CustomCommand::new_static("INFO", ClusterHash::Random, false);
    let text: Bytes = client.custom(command, vec!["server", "commandstats"]).await?;
    let text = String::from_utf8_lossy(&text);
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
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
            let followed = Followed { version: version.to_owned(), ..Followed::default() };
            assert_eq!(followed.is_too_old(), too_old, "{version}");
        }
        // Where it is not told, it is taken for good.
        assert!(!Followed::default().is_too_old());
    }
}
