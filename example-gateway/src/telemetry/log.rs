//! The path of a log line to stderr: no kind comes too often ([`pace`]), and nothing waits ([`queue`]).

mod pace;
mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use self::pace::LogPace;
pub(crate) use self::pace::RELOAD;
use self::queue::LogQueue;
use super::access;

/// How often lines that did not reach the log are reported.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The log of this process, once it has one.
static LOG: OnceLock<Log> = OnceLock::new();

/// The ways of a log line that may end before stderr.
#[derive(Clone, Debug)]
pub(super) struct Log {
    queue: LogQueue,
    pace: LogPace,
}

/// Log lines that were not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LostLines {
    /// The log was not read fast enough.
    pub(crate) unread: u64,
    /// Others of their kind had just been written.
    pub(crate) repeated: u64,
}

/// Makes `log` the one of this process.
pub(super) fn install(log: Log) {
    let _ = LOG.set(log);
    // The standard hook writes to stderr itself, and waits until it is read.
    panic::set_hook(Box::new(log_panic));
}

/// Waits until the log is written, for a moment at most.
pub(crate) fn flush() {
    if let Some(log) = LOG.get() {
        log.queue.flush();
    }
}

/// The lines that were lost so far.
pub(crate) fn lost_lines() -> LostLines {
    LOG.get().map(Log::lost).unwrap_or_default()
}

/// Reports in the log from time to time what was lost of it, for ever.
pub(crate) async fn tell_lost_lines() {
    let Some(log) = LOG.get() else { return };
    let mut pace = tokio::time::interval(TOLD_EVERY);
    let mut told = 0;
    loop {
        pace.tick().await;
        for held in log.pace.held() {
            let (lines, kind) = (held.lines, held.kind);
            tracing::warn!(target: pace::SUMMARY, lines, kind, "log lines of one kind held back");
        }
        let unread = log.lost().unread;
        if unread > told {
            let lines = unread - told;
            tracing::warn!(lines, "log lines dropped: the log was not read fast enough");
            told = unread;
        }
    }
}

impl Log {
    /// A log on stderr.
    ///
    /// # Errors
    ///
    /// When the system gives no thread to write it.
    pub(super) fn to_stderr() -> io::Result<Self> {
        Ok(Self { queue: LogQueue::to_stderr()?, pace: LogPace::default() })
    }

    fn lost(&self) -> LostLines {
        LostLines { unread: self.queue.dropped(), repeated: self.pace.count() }
    }
}

// Not a filter: of one that says no to an event tracing-subscriber remembers it for the next.
impl<'a> MakeWriter<'a> for Log {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine(Some((&self.queue, queue::BYTES)))
    }

    fn make_writer_for(&'a self, place: &Metadata<'_>) -> LogLine<'a> {
        // A line for each request must not take the room of a line about a fault.
        let is_access = place.target() == access::TARGET;
        let room = if is_access { queue::BYTES / 2 } else { queue::BYTES };
        LogLine((is_access || self.pace.admits(place)).then_some((&self.queue, room)))
    }
}

/// Takes one line, which the subscriber writes in one piece, and the bytes that may wait with it.
#[derive(Debug)]
pub(super) struct LogLine<'a>(Option<(&'a LogQueue, usize)>);

impl io::Write for LogLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some((queue, room)) = self.0 {
            queue.push_within(room, line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    let (place, why) = (info.location(), info.payload_as_str());
    tracing::error!(
        place = place.map(tracing::field::display),
        why,
        backtrace = backtrace.map(tracing::field::display),
        "a thread panicked"
    );
}
