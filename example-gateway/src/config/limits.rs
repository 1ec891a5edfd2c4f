//! What a client, a provider or all of them together may take up.
//!
//! Each limit has one line in a list, from which it is read, checked against its bounds and shown: a limit
//! cannot be known to one and not to the others. `docs/configuration.md` lists them for operators.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::at::At;
use super::memory;

const MIB: usize = 1 << 20;

/// The least memory for bodies in bytes: 1 MiB.
const LEAST_MEMORY: u64 = 1 << 20;

/// The limits of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request body in bytes; 32 MiB by default.
    pub body_bytes: usize,
    /// The memory that the bodies of all requests may take together, in bytes; by default (`auto`) a
    /// quarter of what this process may use. A body that a quarter of it cannot hold is too large.
    pub body_memory_bytes: Option<usize>,
    /// Time for a request's body to arrive; 60 s by default.
    pub body_timeout: Duration,
    /// The largest upload in bytes, which passes to a provider without being held; 1 GiB by default.
    pub upload_bytes: usize,
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
    /// Time after a signal to stop for which connections are still accepted while requests run, so that a
    /// load balancer sees that this gateway is not ready any more; 2 s by default.
    pub drain_delay: Duration,
    /// The most connections of clients; 10,000 by default.
    pub max_connections: usize,
    /// The most requests under way, health checks not counted; 4,096 by default.
    pub max_requests: usize,
    /// The most requests of one session that wait for its first decision; 2,048 by default.
    pub max_waiters: usize,
    /// Time for a provider to begin its answer; 300 s by default.
    pub upstream_timeout: Duration,
    /// Time for which the head of a provider's answer is held until the answer begins; 2 s by default.
    pub first_event: Duration,
    /// Time for a provider to go on with its answer; 300 s by default.
    pub upstream_idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 * MIB,
            body_memory_bytes: None,
            body_timeout: Duration::from_secs(60),
            upload_bytes: 1024 * MIB,
            header_bytes: 128 * 1024,
            h2_header_bytes: 16 * 1024,
            header_count: 100,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            send_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            drain_delay: Duration::from_secs(2),
            max_connections: 10_000,
            max_requests: 4096,
            max_waiters: 2048,
            upstream_timeout: Duration::from_secs(300),
            first_event: Duration::from_secs(2),
            upstream_idle_timeout: Duration::from_secs(300),
        }
    }
}

/// A limit to be read or shown, and the values that it may have.
enum Limit<'a> {
    /// Bytes of memory, or `auto`.
    Memory(&'a mut Option<usize>),
    Number(&'a mut usize, RangeInclusive<u64>, &'static str),
    Time(&'a mut Duration),
}

impl Limits {
    /// The memory for bodies in bytes, that of `auto` included.
    pub(crate) fn body_memory(&self) -> usize {
        memory_or_quarter(self.body_memory_bytes)
    }

    /// Every limit by its name in the file, times in milliseconds.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u128); 18] {
        let mut limits = *self;
        limits.places().map(|(key, limit)| match limit {
            Limit::Memory(bytes) => (key, memory_or_quarter(*bytes) as u128),
            Limit::Number(number, ..) => (key, *number as u128),
            Limit::Time(time) => (key, time.as_millis()),
        })
    }

    /// Every limit by its key: the one list from which they are read and shown.
    fn places(&mut self) -> [(&'static str, Limit<'_>); 18] {
        use Limit::{Memory, Number, Time};

        let bytes = " of bytes";
        [
            ("body_bytes", Number(&mut self.body_bytes, 1024..=1 << 30, bytes)),
            ("body_memory_bytes", Memory(&mut self.body_memory_bytes)),
            ("body_timeout_ms", Time(&mut self.body_timeout)),
            ("upload_bytes", Number(&mut self.upload_bytes, 1024..=1 << 40, bytes)),
            // hyper takes no smaller buffer than 8 KiB.
            ("header_bytes", Number(&mut self.header_bytes, 8192..=1 << 20, bytes)),
            ("h2_header_bytes", Number(&mut self.h2_header_bytes, 4096..=1 << 20, bytes)),
            ("header_count", Number(&mut self.header_count, 8..=1000, "")),
            ("header_timeout_ms", Time(&mut self.header_timeout)),
            ("idle_timeout_ms", Time(&mut self.idle_timeout)),
            ("send_timeout_ms", Time(&mut self.send_timeout)),
            ("drain_timeout_ms", Time(&mut self.drain_timeout)),
            ("drain_delay_ms", Time(&mut self.drain_delay)),
            ("max_connections", Number(&mut self.max_connections, 1..=1_000_000, "")),
            ("max_requests", Number(&mut self.max_requests, 1..=1_000_000, "")),
            ("max_waiters", Number(&mut self.max_waiters, 1..=1_000_000, "")),
            ("upstream_timeout_ms", Time(&mut self.upstream_timeout)),
            ("first_event_ms", Time(&mut self.first_event)),
            ("upstream_idle_timeout_ms", Time(&mut self.upstream_idle_timeout)),
        ]
    }
}

fn memory_or_quarter(given: Option<usize>) -> usize {
    given.unwrap_or_else(|| memory::usable() / 4)
}

pub(super) fn read(root: &At<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(at) = root.get("limits") else { return limits };
    for (key, limit) in limits.places() {
        let Some(at) = at.get(key) else { continue };
        match limit {
            Limit::Memory(_) if at.is_text("auto") => {}
            Limit::Memory(memory) => {
                let given = at.integer(LEAST_MEMORY..=1 << 44, " of bytes");
                *memory = given.and_then(|given| given.try_into().ok());
            }
            Limit::Number(number, range, unit) => {
                let given = at.integer(range, unit);
                *number = given.and_then(|given| given.try_into().ok()).unwrap_or(*number);
            }
            Limit::Time(time) => {
                let given = at.integer(1..=86_400_000, " of milliseconds");
                *time = given.map_or(*time, Duration::from_millis);
            }
        }
    }
    limits
}
