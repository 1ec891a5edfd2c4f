//! The statuses with which the programs end.

use std::process::ExitCode;

/// Wrong usage, and a configuration that cannot be served.
pub(crate) const USAGE: u8 = 2;

/// The status of a check.
pub(crate) fn code(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
