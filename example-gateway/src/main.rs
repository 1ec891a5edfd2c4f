//! Arguments and hand-over.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use example_gateway::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(code) => code,
        // Whoever reads our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "example-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}
