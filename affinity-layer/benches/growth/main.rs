//! How the memory store grows: bytes per session, pauses while pins expire, and what is evicted.
//!
//! ```sh
//! cargo bench -p affinity-benches --bench growth
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod eviction;
mod pauses;
mod resident;

use std::env;
use std::process::ExitCode;

use affinity_benches::Failure;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["--resident", sessions] => resident::grow(sessions),
        ["--bench"] => all(),
        // `cargo test` runs benches too, to see that they work.
        [] => resident::grow("1000").and_then(|()| pauses::table(1_000)).map(|table| {
            println!("{table}{}", eviction::table(10_000));
        }),
        _ => Err("usage: cargo bench -p affinity-benches --bench growth".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn all() -> Result<(), Failure> {
    println!("{}", resident::table()?);
    println!("{}", pauses::table(1_000_000)?);
    println!("{}", eviction::table(1_000_000));
    Ok(())
}
