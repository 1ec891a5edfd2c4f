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
        self.commands(&PIN_COMMANDS).await
    }

    /// How many of these commands, in lower case, the server has run.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn commands(&self, names: &[&str]) -> u64 {
        let info = self.run(&["INFO", "commandstats"]).await;
        let calls = |line: &str| {
            let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            names.contains(&name).then_some(stats)?;
            stats.split(',').next()?.parse::<u64>().ok()
        };
        info.text().expect("INFO is text").lines().filter_map(calls).sum()
    }

    /// A figure of `INFO stats`.
    ///
    /// # Panics
    /// When the server does not answer, or has none of this name.
    pub async fn stat(&self, name: &str) -> u64 {
        let info = self.run(&["INFO", "stats"]).await;
        let mut lines = info.text().expect("INFO is text").lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.parse().ok()).expect("a figure")
    }
}
