//! Arguments and hand-over.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use example_gateway::cli::Cli;
use mimalloc::MiMalloc;

// A request takes some sixty pieces of memory, the body in one. With this they cost a tenth of its
// processor time less at 1 KiB and a third less at 256 KiB than with that of the C library, which
// returns large pieces to the system and takes them again, page by page.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

// Other threads serve clients, so this one accepts them and talks to Redis.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(code) => code,
        // The reader of our output has closed it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "example-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}
