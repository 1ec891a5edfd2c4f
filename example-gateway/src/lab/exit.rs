//! The statuses with which the programs end.

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// Wrong usage, and a configuration that cannot be served.
pub(crate) const USAGE: u8 = 2;

/// The status of a check.
pub(crate) fn code(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What `work` gives. SIGINT and SIGTERM drop it at once, and give the status that a shell gives to a process
/// that they have ended.
///
/// # Errors
///
/// Those of `work`, and when signals cannot be listened to.
pub(crate) async fn unless_stopped(
    work: impl Future<Output = io::Result<ExitCode>>,
) -> io::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = work => done,
        _ = terminate.recv() => Ok(ExitCode::from(128 + 15)),
        _ = interrupt.recv() => Ok(ExitCode::from(128 + 2)),
    }
}
