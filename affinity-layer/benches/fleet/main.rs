//! What a fleet of replicas costs Redis, at a constant load per replica.
//!
//! ```sh
//! cargo bench -p affinity-benches --bench fleet
//! ```
//!
//! It takes some two minutes. Up to 16 replicas are processes of their own; a hundred are stores in one
//! process, beside one process that is frozen. See `load.rs` for what each replica does and `figures.rs`
//! for what is read of Redis.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod figures;
mod load;
mod processes;

use std::env;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use affinity_benches::Failure;
use affinity_benches::redis::Redis;

use self::figures::{Figures, Rates};
use self::processes::Processes;

/// A fleet: replicas that are processes, and replicas that share one.
#[derive(Clone, Copy)]
struct Fleet {
    processes: usize,
    simulated: usize,
}

/// How long one fleet is measured.
#[derive(Clone, Copy)]
struct Plan {
    /// Until as many pins expire as are claimed.
    warm_up: Duration,
    span: Duration,
    /// How long one replica is frozen behind the measurement.
    frozen: Duration,
}

const FLEETS: [Fleet; 5] = [
    Fleet { processes: 1, simulated: 0 },
    Fleet { processes: 4, simulated: 0 },
    Fleet { processes: 8, simulated: 0 },
    Fleet { processes: 16, simulated: 0 },
    Fleet { processes: 1, simulated: 99 },
];

const FULL: Plan = Plan {
    warm_up: Duration::from_secs(7),
    span: Duration::from_secs(10),
    frozen: Duration::from_secs(5),
};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["--replicas", url, first, count, of] => load::run(url, first, count, of),
        ["--bench"] => table(&FLEETS, FULL),
        // `cargo test` runs benches too, to see that they work.
        [] => {
            let short = Duration::from_secs(1);
            let plan = Plan { warm_up: short * 3, span: short, frozen: short };
            table(&[Fleet { processes: 1, simulated: 1 }], plan)
        }
        _ => Err("usage: cargo bench -p affinity-benches --bench fleet".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a row for each fleet.
fn table(fleets: &[Fleet], plan: Plan) -> Result<(), Failure> {
    println!("{}", Rates::HEADER);
    for fleet in fleets {
        let redis = Redis::start()?;
        let replicas = fleet.processes + fleet.simulated;
        let mut processes = Processes::default();
        for replica in 0..fleet.processes {
            processes.start(redis.url(), replica, 1, replicas)?;
        }
        if fleet.simulated > 0 {
            processes.start(redis.url(), fleet.processes, fleet.simulated, replicas)?;
        }
        sleep(plan.warm_up);
        let before = Figures::read(&redis)?;
        sleep(plan.span);
        let rates = Figures::read(&redis)?.since(&before, plan.span);
        processes.freeze_first()?;
        sleep(plan.frozen);
        let held = figures::longest_output(&redis)?;
        let mut row = String::new();
        write!(row, "{}", rates.row(replicas, fleet.simulated, held))?;
        println!("{row}");
    }
    Ok(())
}
