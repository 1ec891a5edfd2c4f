//! What one request costs: instructions and allocations, counted by callgrind.
//!
//! ```sh
//! cargo bench -p affinity-benches --bench cost              # a table
//! cargo bench -p affinity-benches --bench cost -- --check   # against counts.txt
//! cargo bench -p affinity-benches --bench cost -- --save    # new counts.txt
//! ```
//!
//! Counts do not depend on how busy the machine is. It needs `valgrind` and `redis-server`. The
//! clock is read by a system call under valgrind, so a read counts as almost nothing here.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod cases;
mod counts;
mod guard;
mod traffic;

use std::env;
use std::process::ExitCode;

use cases::Case;

/// Requests of one measurement. Near copies have to stay fresh for as long as it takes: a second.
const TIMES: usize = 200;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["--run", name] => Case::named(name).and_then(|case| case.run(TIMES)),
        ["--check", "--bench"] => guard::check(),
        ["--save", "--bench"] => guard::save(),
        ["--bench"] => counts::all().map(|counts| print!("{}", counts::table(&counts))),
        // `cargo test` runs benches too, to see that they work.
        [] => Case::ALL.into_iter().try_for_each(|case| case.run(2)),
        _ => Err("usage: [--check | --save]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `work` where callgrind counts; it knows this function by its name.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}
