//! When to stop.
//!
//! Commands that serve stop by the token that [`on_signal`] returns, and the [gateway](crate::gateway) says
//! what happens then. The first signal lets running requests end; a second one is for an operator who does
//! not want to wait.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A token that the first SIGTERM, SIGINT or SIGHUP cancels; the second ends the process at once, with the
/// status that a shell gives to a process ended by that signal. A SIGHUP that was ignored when the process
/// began, as under `nohup`, stays ignored. SIGUSR1 and SIGUSR2 do nothing.
///
/// # Errors
///
/// When signals cannot be listened to.
pub(crate) fn on_signal() -> io::Result<CancellationToken> {
    listen(None)
}

/// As [`on_signal`], but a SIGHUP notifies `hangup`.
///
/// # Errors
///
/// As [`on_signal`].
pub(crate) fn on_signal_with(hangup: Arc<Notify>) -> io::Result<CancellationToken> {
    listen(Some(hangup))
}

fn listen(hung_up: Option<Arc<Notify>>) -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = match is_ignored(SignalKind::hangup()) {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    // A signal that was listened to once never ends the process by itself again.
    drop([signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?]);
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return 128 + 15,
                    _ = interrupt.recv() => return 128 + 2,
                    () = received(&mut hangup) => match &hung_up {
                        Some(hung_up) => hung_up.notify_one(),
                        None => return 128 + 1,
                    },
                }
            }
        };
        next().await;
        tracing::info!("stopping; running requests may end");
        token.cancel();
        std::process::exit(next().await);
    });
    Ok(stop)
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process ignores a signal, as far as Linux reports it.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, kind)
}

fn ignores(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let place = kind.as_raw_value() - 1;
    mask >> place & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let ignored = |mask: &str| {
            let status = format!("Name:\tx\nSigIgn:\t{mask}\nSigCgt:\tffffffffffffffff\n");
            [SignalKind::hangup(), SignalKind::user_defined1()].map(|kind| ignores(&status, kind))
        };
        assert_eq!(ignored("0000000000001000"), [false, false]);
        assert_eq!(ignored("0000000000001001"), [true, false]);
        assert_eq!(ignored("0000000000000200"), [false, true]);
        assert!(!ignores("", SignalKind::hangup()));
    }
}
