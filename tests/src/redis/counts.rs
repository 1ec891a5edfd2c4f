//! How much the stores asked of a server.

use super::RedisServer;

/// What the stores send for pins; their heartbeat is not among it.
const PIN_COMMANDS: [&str; 4] = ["getrange", "pttl", "set", "eval"];

impl RedisServer {
    /// How many commands of the stores the server has run, their heartbeat apart.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn pin_commands(&self) -> u64 {
        let info = self.run(&["INFO", "commandstats"]).await;
        let calls = |line: &str| {
            let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            PIN_COMMANDS.contains(&name).then_some(stats)?;
            stats.split(',').next()?.parse::<u64>().ok()
        };
        info.text().expect("INFO is text").lines().filter_map(calls).sum()
    }
}
