//! Hits over one and two threads and many sessions, and stores side by side.
//!
//! ```sh
//! cargo bench -p affinity-benches --bench throughput
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod hits;
mod stores;

use std::env;
use std::process::ExitCode;

/// Pairs of measurements.
const ROUNDS: usize = 7;

fn main() -> ExitCode {
    // `cargo test` runs benches too, to see that they work.
    let is_bench = env::args().any(|arg| arg == "--bench");
    let (sizes, times): (&[u64], usize) =
        if is_bench { (&[1_000, 1_000_000, 10_000_000], 200_000) } else { (&[1_000], 100) };
    // Hits go first: the allocator is slower for two threads after the other stores have used it.
    let stores = || stores::table(if is_bench { 1_000_000 } else { 1_000 }, times);
    match hits::table(sizes, times).and_then(|hits| Ok((hits, stores()?))) {
        Ok((hits, stores)) => {
            println!("{hits}\n{stores}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
