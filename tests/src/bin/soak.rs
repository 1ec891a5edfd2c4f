//! The soak run by command: a table in Markdown, and exit code 1 when something went wrong.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use affinity_tests::soak::{Plan, run};
use clap::Parser;

/// Runs mixed load through one gateway while something fails every now and then.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long, in minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u32,
    /// From one fault to the next, in seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(8..=600))]
    every: u64,
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
    let plan = Plan {
        gateway,
        length: Duration::from_secs(u64::from(arguments.minutes) * 60),
        every: Duration::from_secs(arguments.every),
    };
    // Dropping it ends all processes.
    let report = tokio::select! {
        report = run(&plan) => report,
        _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(130)),
    };
    write!(std::io::stdout(), "{report}")?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
