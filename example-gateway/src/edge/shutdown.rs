//! When to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGTERM or SIGINT cancels; the second ends the process at once, with the
/// status that a shell gives to a process ended by that signal.
///
/// # Errors
///
/// When signals cannot be listened to.
pub(crate) fn on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => 128 + 15,
                _ = interrupt.recv() => 128 + 2,
            }
        };
        next().await;
        tracing::info!("stopping; running requests may end");
        token.cancel();
        std::process::exit(next().await);
    });
    Ok(stop)
}
