//! What is run, how often and for how long.

use std::time::Duration;

/// A form of the benchmark.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often each server has its turn in each case.
    pub pairs: usize,
    /// Time of one turn, after its warm-up.
    pub span: Duration,
    /// Time before it, in which nothing is counted.
    pub warm_up: Duration,
    /// Lengths of the plain requests in bytes.
    pub sizes: Vec<usize>,
    /// Connections at once.
    pub connections: Vec<usize>,
    /// Connections of streams at once.
    pub streams: Vec<usize>,
    /// Time of one turn with streams.
    pub stream_span: Duration,
}

impl Plan {
    /// All sizes and connections, seven turns each: about twelve minutes.
    #[must_use]
    pub fn full() -> Self {
        Self {
            pairs: 5,
            span: Duration::from_millis(1000),
            warm_up: Duration::from_millis(200),
            sizes: vec![1 << 10, 32 << 10, 256 << 10],
            connections: vec![1, 16, 64],
            streams: vec![1, 16],
            stream_span: Duration::from_millis(2000),
        }
    }

    /// A first impression within a minute.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            pairs: 3,
            span: Duration::from_millis(300),
            warm_up: Duration::from_millis(100),
            sizes: vec![1 << 10, 256 << 10],
            connections: vec![1, 16],
            streams: vec![16],
            stream_span: Duration::from_millis(600),
        }
    }
}
