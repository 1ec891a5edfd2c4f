//! What a client, a provider or all of them together may take up.

use std::time::Duration;

use super::at::At;

const MIB: usize = 1 << 20;

/// The limits of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request body in bytes; 32 MiB by default.
    pub body_bytes: usize,
    /// Time for a request's body to arrive; 60 s by default.
    pub body_timeout: Duration,
    /// The largest head of an HTTP/1.1 request in bytes; 128 KiB by default.
    pub header_bytes: usize,
    /// The largest header list of an HTTP/2 request in bytes; 16 KiB by default.
    pub h2_header_bytes: usize,
    /// The most header fields of a request; 100 by default.
    pub header_count: usize,
    /// Time for a request's head to arrive, from the connection or its first byte; 10 s by default.
    pub header_timeout: Duration,
    /// Time that a connection may be kept between two requests; 90 s by default.
    pub idle_timeout: Duration,
    /// Time for a client to take some of what is sent to it; 60 s by default.
    pub send_timeout: Duration,
    /// Time for running requests to end after a signal to stop; 30 s by default.
    pub drain_timeout: Duration,
    /// The most connections of clients; 10,000 by default.
    pub max_connections: usize,
    /// The most requests under way, health checks not counted; 4,096 by default.
    pub max_requests: usize,
    /// The most requests of one session that wait for its first decision; 2,048 by default.
    pub max_waiters: usize,
    /// Time for a provider to begin its answer; 300 s by default.
    pub upstream_timeout: Duration,
    /// Time for a provider to go on with its answer; 300 s by default.
    pub upstream_idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 * MIB,
            body_timeout: Duration::from_secs(60),
            header_bytes: 128 * 1024,
            h2_header_bytes: 16 * 1024,
            header_count: 100,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            send_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            max_connections: 10_000,
            max_requests: 4096,
            max_waiters: 2048,
            upstream_timeout: Duration::from_secs(300),
            upstream_idle_timeout: Duration::from_secs(300),
        }
    }
}

impl Limits {
    /// Every limit by its name in the file, times in milliseconds.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u128); 14] {
        let size = |bytes: usize| bytes as u128;
        [
            ("body_bytes", size(self.body_bytes)),
            ("body_timeout_ms", self.body_timeout.as_millis()),
            ("header_bytes", size(self.header_bytes)),
            ("h2_header_bytes", size(self.h2_header_bytes)),
            ("header_count", size(self.header_count)),
            ("header_timeout_ms", self.header_timeout.as_millis()),
            ("idle_timeout_ms", self.idle_timeout.as_millis()),
            ("send_timeout_ms", self.send_timeout.as_millis()),
            ("drain_timeout_ms", self.drain_timeout.as_millis()),
            ("max_connections", size(self.max_connections)),
            ("max_requests", size(self.max_requests)),
            ("max_waiters", size(self.max_waiters)),
            ("upstream_timeout_ms", self.upstream_timeout.as_millis()),
            ("upstream_idle_timeout_ms", self.upstream_idle_timeout.as_millis()),
        ]
    }
}

pub(super) fn read(root: &At<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(at) = root.get("limits") else { return limits };
    let number = |place: &mut usize, key, least: u64, most: u64, unit| {
        let given = at.get(key).and_then(|at| at.integer(least..=most, unit));
        if let Some(given) = given.and_then(|given| usize::try_from(given).ok()) {
            *place = given;
        }
    };
    let bytes = " of bytes";
    number(&mut limits.body_bytes, "body_bytes", 1024, 1 << 30, bytes);
    // hyper takes no smaller buffer than 8 KiB.
    number(&mut limits.header_bytes, "header_bytes", 8192, 1 << 20, bytes);
    number(&mut limits.h2_header_bytes, "h2_header_bytes", 4096, 1 << 20, bytes);
    number(&mut limits.header_count, "header_count", 8, 1000, "");
    number(&mut limits.max_connections, "max_connections", 1, 1_000_000, "");
    number(&mut limits.max_requests, "max_requests", 1, 1_000_000, "");
    number(&mut limits.max_waiters, "max_waiters", 1, 1_000_000, "");
    let time = |place: &mut Duration, key| {
        let given = at.get(key).and_then(|at| at.integer(1..=86_400_000, " of milliseconds"));
        *place = given.map_or(*place, Duration::from_millis);
    };
    time(&mut limits.body_timeout, "body_timeout_ms");
    time(&mut limits.header_timeout, "header_timeout_ms");
    time(&mut limits.idle_timeout, "idle_timeout_ms");
    time(&mut limits.send_timeout, "send_timeout_ms");
    time(&mut limits.drain_timeout, "drain_timeout_ms");
    time(&mut limits.upstream_timeout, "upstream_timeout_ms");
    time(&mut limits.upstream_idle_timeout, "upstream_idle_timeout_ms");
    limits
}
