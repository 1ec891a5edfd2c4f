//! The load generator: a closed loop of connections, each a session of its own.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::connection::{Connection, Message, micros};
use super::process;
use super::stand_in::now;
use super::stats::percentile;

/// What is sent, and by how many at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    pub(super) message: Message<'a>,
    pub(super) connections: usize,
    pub(super) warm_up: Duration,
    pub(super) span: Duration,
}

/// One run against one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Requests per second.
    pub(super) rate: f64,
    /// Of a request, or of a stream's first event: half took at most so many microseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Of a stream's events: half came at most so many microseconds after they were made.
    pub(super) delay: f64,
    /// Processor time of the server in microseconds, for each request or each event.
    pub(super) cpu: f64,
    /// Answers that were not 2xx, the first requests of the sessions included.
    pub(super) failures: usize,
}

/// What the connections saw between the end of the warm-up and the end of the run.
#[derive(Default)]
struct Seen {
    latencies: Vec<f64>,
    delays: Vec<f64>,
    failures: usize,
}

impl Load<'_> {
    /// Runs it against the server at `address`, which is `process`.
    ///
    /// # Errors
    ///
    /// When a connection breaks: a server that fails is not measured.
    pub(super) async fn run(&self, address: SocketAddr, process: u32) -> io::Result<Sample> {
        let mut all = Seen::default();
        let mut connections = Vec::new();
        for number in 0..self.connections {
            let session = format!("bench-{number:04}-7b6fd5e2-3c0a-4f6e");
            let mut connection = Connection::open(address, self.message, &session).await?;
            // The first request of a session decides; it is not part of what is measured.
            if !self.is_streamed() {
                all.failures += usize::from(!connection.exchange().await?);
            }
            connections.push(connection);
        }
        let begin = Instant::now() + self.warm_up;
        let end = begin + self.span;
        let wall = now() + u64::try_from(self.warm_up.as_nanos()).expect("less than centuries");
        let mut running = JoinSet::new();
        let streamed = self.is_streamed();
        for connection in connections {
            running.spawn(work(connection, streamed, begin, end, wall));
        }
        sleep_until(begin).await;
        let before = process::cpu(process);
        sleep_until(end).await;
        let cpu = process::cpu(process).saturating_sub(before);
        while let Some(seen) = running.join_next().await {
            let seen = seen.map_err(io::Error::other)??;
            all.latencies.extend(seen.latencies);
            all.delays.extend(seen.delays);
            all.failures += seen.failures;
        }
        Ok(self.sample(all, cpu))
    }

    fn sample(&self, mut all: Seen, cpu: Duration) -> Sample {
        all.latencies.sort_by(f64::total_cmp);
        all.delays.sort_by(f64::total_cmp);
        let requests = all.latencies.len() as f64;
        let work = if self.is_streamed() { all.delays.len() as f64 } else { requests };
        Sample {
            rate: requests / self.span.as_secs_f64(),
            p50: percentile(&all.latencies, 500),
            p99: percentile(&all.latencies, 990),
            delay: percentile(&all.delays, 500),
            cpu: micros(cpu) / work,
            failures: all.failures,
        }
    }

    fn is_streamed(&self) -> bool {
        self.message.accept == "text/event-stream"
    }
}

async fn work(
    mut connection: Connection,
    streamed: bool,
    begin: Instant,
    end: Instant,
    wall: u64,
) -> io::Result<Seen> {
    let mut seen = Seen::default();
    let wall_end = wall + u64::try_from((end - begin).as_nanos()).expect("less than centuries");
    loop {
        let started = Instant::now();
        if started >= end {
            return Ok(seen);
        }
        if streamed {
            let stream = connection.stream().await?;
            if started >= begin {
                seen.latencies.push(stream.first);
            }
            let inside = stream.events.iter().filter(|e| (wall..wall_end).contains(&e.arrived));
            seen.delays.extend(inside.map(|event| event.delay));
        } else {
            let good = connection.exchange().await?;
            let now = Instant::now();
            if !good {
                seen.failures += 1;
            } else if now >= begin && now < end {
                seen.latencies.push(micros(now - started));
            }
        }
    }
}
