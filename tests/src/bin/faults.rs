//! What faults of Redis cost, by command: a table in Markdown, and exit code 1 when one costs too much.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use affinity_tests::faults::{Plan, Sick, run};
use clap::{Parser, ValueEnum};

/// Runs an even load through a gateway over a healthy Redis and then a sick one, for each fault.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long Redis is healthy and how long it is sick, in seconds each.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(3..=3600))]
    seconds: u64,
    /// What is wrong with Redis; by default all faults, one after the other.
    #[arg(long, value_enum)]
    fault: Option<Sick>,
    /// The gateway's program; by default the one next to this one.
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> std::io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let gateway = match arguments.gateway {
        Some(gateway) => gateway,
        None => std::env::current_exe()?.with_file_name("example-gateway"),
    };
    let faults = match arguments.fault {
        Some(fault) => vec![fault],
        None => Sick::value_variants().to_vec(),
    };
    let plan = Plan { gateway, half: Duration::from_secs(arguments.seconds), faults };
    // Dropping it ends all processes.
    let report = tokio::select! {
        report = run(&plan) => report,
        _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(130)),
    };
    write!(std::io::stdout(), "{report}")?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
