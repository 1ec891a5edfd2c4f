//! The end-to-end benchmark by command; `tests/bench.sh` builds and calls it.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use affinity_tests::bench::{Plan, Setup, beside, floor, insert, plot, run, section, stand_in};
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

/// Compares the gateway with a floor, nginx and HAProxy, and writes the figures down.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// A first impression within a minute; nothing is written but to stdout.
    #[arg(long)]
    quick: bool,
    /// Only small turns beside long bodies of others, so many pairs; written to stdout.
    #[arg(long, value_name = "PAIRS")]
    beside: Option<usize>,
    /// Of those, only the neighbours whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "", requires = "beside")]
    only: String,
    /// The document whose part about the gateway is replaced; the plot goes into docs/ next to it.
    #[arg(long, value_name = "FILE", default_value = "BENCHMARKS.md")]
    output: PathBuf,
    /// The gateway's program; by default the one next to this one.
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// A Python environment in which LiteLLM is installed, to measure it too.
    #[arg(long, value_name = "FOLDER")]
    litellm: Option<PathBuf>,
}

/// The servers that are part of the benchmark, which it starts by itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// The provider stand-in, on one thread.
    Provider,
    /// The same server on all processors, to compare the decision API with.
    Constant,
    /// The floor.
    Floor {
        /// Where requests go.
        #[arg(long)]
        upstream: SocketAddr,
        /// Hold bodies until they are whole, check them and put a model in.
        #[arg(long)]
        whole: bool,
    },
}

fn main() -> io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let many = matches!(arguments.role, Some(Role::Constant | Role::Floor { .. }));
    let mut builder =
        if many { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all().build()?.block_on(async {
        match &arguments.role {
            Some(Role::Provider | Role::Constant) => stand_in::serve(listen().await?).await?,
            Some(Role::Floor { upstream, whole: false }) => {
                floor::serve(listen().await?, *upstream).await?;
            }
            Some(Role::Floor { upstream, whole: true }) => {
                floor::serve_whole(listen().await?, *upstream).await?;
            }
            None => {
                // Dropping it ends all processes.
                tokio::select! {
                    done = measure(&arguments) => done?,
                    _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(130)),
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// A socket on loopback whose address is printed for the parent process.
async fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(io::stderr(), "listens address={}", listener.local_addr()?)?;
    Ok(listener)
}

async fn measure(arguments: &Arguments) -> io::Result<()> {
    let next_to_this = || Ok(std::env::current_exe()?.with_file_name("example-gateway"));
    let gateway = arguments.gateway.clone().map_or_else(next_to_this, Ok::<_, io::Error>)?;
    if let Some(pairs) = arguments.beside {
        return write!(io::stdout(), "{}", beside(&gateway, pairs, &arguments.only).await?);
    }
    let setup = Setup {
        plan: if arguments.quick { Plan::quick() } else { Plan::full() },
        gateway,
        litellm: arguments.litellm.clone(),
    };
    let outcome = run(&setup).await?;
    const PLOT: &str = "docs/benchmarks-gateway.svg";
    let section = section(&outcome, &setup, PLOT);
    if arguments.quick {
        return write!(io::stdout(), "{section}");
    }
    let document = std::fs::read_to_string(&arguments.output).unwrap_or_default();
    std::fs::write(&arguments.output, insert(&document, &section))?;
    let folder = arguments.output.parent().unwrap_or(Path::new(""));
    std::fs::write(folder.join(PLOT), plot(&outcome))?;
    writeln!(io::stderr(), "written to {}", arguments.output.display())
}
