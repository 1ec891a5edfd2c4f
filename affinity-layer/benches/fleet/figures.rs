//! What Redis says of its own work.

use std::collections::HashMap;
use std::time::Duration;

use affinity_benches::Failure;
use affinity_benches::redis::Redis;

/// What a follower sends although nothing happens.
const HEARTBEATS: [&str; 3] = ["echo", "ping", "info"];

/// Counts since the server was started.
pub(crate) struct Figures {
    sent: f64,
    processor: f64,
    commands: f64,
    claims: f64,
    heartbeats: f64,
    connections: f64,
    tracked: f64,
}

impl Figures {
    /// Asks the server.
    pub(crate) fn read(redis: &Redis) -> Result<Self, Failure> {
        let info = redis.ask("INFO everything")?;
        let fields: HashMap<&str, &str> =
            info.lines().filter_map(|line| line.split_once(':')).collect();
        let number = |name: &str| -> f64 {
            fields.get(name).and_then(|value| value.parse().ok()).unwrap_or_default()
        };
        let calls = |command: &str| -> f64 {
            let stats = fields.get(format!("cmdstat_{command}").as_str());
            let calls = stats.and_then(|stats| stats.strip_prefix("calls=")?.split(',').next());
            calls.and_then(|calls| calls.parse().ok()).unwrap_or_default()
        };
        Ok(Self {
            sent: number("total_net_output_bytes"),
            processor: number("used_cpu_sys") + number("used_cpu_user"),
            commands: number("total_commands_processed"),
            claims: calls("set"),
            heartbeats: HEARTBEATS.into_iter().map(calls).sum(),
            connections: number("total_connections_received"),
            tracked: number("tracking_total_keys"),
        })
    }

    /// Rates of the time between `before` and now.
    pub(crate) fn since(&self, before: &Self, span: Duration) -> Rates {
        let rate = |of: fn(&Self) -> f64| (of(self) - of(before)) / span.as_secs_f64();
        Rates {
            sent: rate(|it| it.sent),
            processor: rate(|it| it.processor),
            commands: rate(|it| it.commands),
            claims: rate(|it| it.claims),
            heartbeats: rate(|it| it.heartbeats),
            // Ours is one.
            broken: self.connections - before.connections - 1.0,
            tracked: self.tracked,
        }
    }
}

/// By the second, but for the last two.
pub(crate) struct Rates {
    sent: f64,
    processor: f64,
    commands: f64,
    claims: f64,
    heartbeats: f64,
    broken: f64,
    tracked: f64,
}

impl Rates {
    /// The head of the table.
    pub(crate) const HEADER: &str = "| replicas | claims /s | bytes out /s per replica | processor of Redis, per replica | commands /s per replica | heartbeats /s per replica | keys tracked | connections broken | held for a frozen replica |\n|---|---|---|---|---|---|---|---|---|";

    /// A row of it; `held` is in bytes.
    pub(crate) fn row(&self, replicas: usize, simulated: usize, held: u64) -> String {
        let each = u32::try_from(replicas).map_or(1.0, f64::from);
        let kind = if simulated > 0 { ", simulated" } else { "" };
        format!(
            "| {replicas}{kind} | {:.0} | {:.0} | {:.2} % | {:.0} | {:.1} | {:.0} | {:.0} | {:.1} KB |",
            self.claims,
            self.sent / each,
            self.processor / each * 100.0,
            self.commands / each,
            self.heartbeats / each,
            self.tracked,
            self.broken,
            Duration::from_secs(held).as_secs_f64() / 1024.0,
        )
    }
}

/// The most bytes that Redis holds for a client that does not read.
pub(crate) fn longest_output(redis: &Redis) -> Result<u64, Failure> {
    let clients = redis.ask("CLIENT LIST")?;
    let omem = |line: &str| {
        let field = line.split(' ').find_map(|field| field.strip_prefix("omem="));
        field.and_then(|bytes| bytes.parse::<u64>().ok())
    };
    Ok(clients.lines().filter_map(omem).max().unwrap_or_default())
}
