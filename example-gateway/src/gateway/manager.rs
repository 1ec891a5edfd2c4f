//! What the service manager is told (`sd_notify`), if there is one: nothing without `NOTIFY_SOCKET`.
//!
//! With `Type=notify-reload` systemd waits for each: `systemctl start` for the sockets, `systemctl reload`
//! for the end of the reload.

use sd_notify::NotifyState;

/// Clients are served. Also the end of a reload.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the clock cannot be read"),
    }
}

/// The stop begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
