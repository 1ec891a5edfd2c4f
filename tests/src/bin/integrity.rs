//! The integrity checker by command: a table in Markdown, and exit code 1 when a rule was broken.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use affinity_tests::integrity::{Fault, Plan, run, table};
use clap::Parser;

/// Runs many sessions over several gateways and one Redis, and checks what their clients saw.
#[derive(Debug, Parser)]
struct Arguments {
    /// Sessions in total, spread evenly over the faults.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// Gateways.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    replicas: u8,
    /// One fault by its name, or all of them in turn.
    #[arg(long, default_value = "all")]
    fault: String,
    /// When a pin counts: `primary`, or `replicated`, which is for the faults `failover` and `partition`.
    #[arg(long, default_value = "primary", value_parser = ["primary", "replicated"])]
    durability: String,
    /// Where all choices come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The longest that one fault's sessions may go on beginning, in seconds.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// The gateway's program; by default the one next to this one.
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> std::io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let replicated = arguments.durability == "replicated";
    let faults = match arguments.fault.as_str() {
        "all" if replicated => vec![Fault::Failover, Fault::Partition],
        "all" => Fault::ALL.to_vec(),
        name => match name.parse() {
            Ok(fault) => vec![fault],
            Err(error) => {
                writeln!(std::io::stderr(), "{error}")?;
                return Ok(ExitCode::from(2));
            }
        },
    };
    let gateway = match arguments.gateway {
        Some(gateway) => gateway,
        None => std::env::current_exe()?.with_file_name("example-gateway"),
    };
    let checking = async {
        let mut reports = Vec::new();
        for fault in &faults {
            let plan = Plan {
                gateway: gateway.clone(),
                replicas: arguments.replicas.into(),
                sessions: arguments.sessions.div_ceil(faults.len()),
                fault: *fault,
                replicated,
                seed: arguments.seed,
                limit: Duration::from_secs(arguments.limit),
            };
            let report = run(&plan).await;
            let mut progress = std::io::stderr().lock();
            let violations = report.violations();
            writeln!(progress, "{}: {violations} violations", fault.name())?;
            for trace in report.traces() {
                writeln!(progress, "{trace}")?;
            }
            reports.push(report);
        }
        Ok::<_, std::io::Error>(reports)
    };
    // Dropping it ends all processes.
    let reports = tokio::select! {
        reports = checking => reports?,
        _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(130)),
    };
    write!(std::io::stdout(), "{}", table(&reports))?;
    let good = reports.iter().all(|report| report.violations() == 0);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
