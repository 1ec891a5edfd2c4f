//! Log lines on their way to stderr: a separate thread writes them, so that no other thread ever waits
//! for their reader.
//!
//! 1. A line that finds no room is dropped and counted.
//! 2. The room is limited in lines and in bytes.
//! 3. The end of the program waits for the lines that are left, but not for long.
//!
//! `tracing-appender` has such a writer too. It counts lines and not bytes, and reports on stdout that
//! it could not end in time, which blocks for ever if stdout is the same unread pipe.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// The most lines that wait.
const LINES: usize = 4096;

/// The most bytes that wait: 1 MiB.
pub(super) const BYTES: usize = 1 << 20;

/// Time for the lines that are left when the program ends.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often a full queue is tried again when the program ends, and how long it then has to get room.
const ATTEMPTS: u32 = 100;
const ROOM: Duration = Duration::from_millis(2);

/// Takes lines without waiting. Clones share the queue.
#[derive(Clone)]
pub(super) struct LogQueue {
    sender: SyncSender<Entry>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

enum Entry {
    Line(Vec<u8>),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

impl LogQueue {
    /// A queue to stderr.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn to_stderr() -> io::Result<Self> {
        // Not the standard handle: a write that waits holds its lock and stops everyone who wants it.
        match io::stderr().as_fd().try_clone_to_owned() {
            Ok(file) => Self::to(File::from(file)),
            Err(_) => Self::to(io::stderr()),
        }
    }

    fn to(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, entries) = sync_channel(LINES);
        let queue = Self { sender, shared: Arc::default() };
        let shared = queue.shared.clone();
        let writing = move || write(&entries, &mut out, &shared);
        thread::Builder::new().name("log".to_owned()).spawn(writing)?;
        Ok(queue)
    }

    /// How many lines were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Takes a line if no more than `room` bytes wait then, of [`BYTES`] at most.
    pub(super) fn push_within(&self, room: usize, line: &[u8]) {
        let Shared { waiting, dropped } = &*self.shared;
        let before = waiting.fetch_add(line.len(), Ordering::Relaxed);
        let fits = line.len() <= room.saturating_sub(before);
        if !fits || self.sender.try_send(Entry::Line(line.to_owned())).is_err() {
            waiting.fetch_sub(line.len(), Ordering::Relaxed);
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was taken so far is written, for a moment at most.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        let mut entry = Entry::Flush(done);
        for _ in 0..ATTEMPTS {
            match self.sender.try_send(entry) {
                Ok(()) => drop(written.recv_timeout(LAST_WORDS)),
                Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(back)) => {
                    entry = back;
                    thread::sleep(ROOM);
                    continue;
                }
            }
            return;
        }
    }
}

fn write(entries: &Receiver<Entry>, out: &mut impl Write, shared: &Shared) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                if out.write_all(&line).is_err() {
                    shared.dropped.fetch_add(1, Ordering::Relaxed);
                }
                shared.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            }
            // If it cannot be sent, the waiter is gone.
            Entry::Flush(done) => drop(done.try_send(())),
        }
    }
}

impl fmt::Debug for LogQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogQueue").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::Sender;

    use super::*;

    /// A reader that reads when the test wants it to.
    struct Gated {
        open: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gated {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // The end of the test opens it for good.
            let _ = self.open.recv();
            self.written.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl LogQueue {
        fn push(&self, line: &[u8]) {
            self.push_within(BYTES, line);
        }
    }

    fn gated() -> (LogQueue, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (opener, open) = std::sync::mpsc::channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let queue = LogQueue::to(Gated { open, written: written.clone() }).unwrap();
        (queue, opener, written)
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted_and_those_that_fit_arrive() {
        let (queue, opener, written) = gated();
        for _ in 0..LINES + 1000 {
            queue.push(b"line\n");
        }
        // One more than fit may be in the writer's hands.
        let dropped = queue.dropped();
        assert!((999..=1000).contains(&dropped), "{dropped}");
        drop(opener);
        queue.flush();
        let written = written.lock().unwrap().len();
        assert_eq!(written as u64, (LINES as u64 + 1000 - dropped) * 5);
    }

    #[test]
    fn long_lines_are_limited_by_their_bytes() {
        let (queue, opener, written) = gated();
        let line = vec![b'x'; BYTES / 4];
        for _ in 0..6 {
            queue.push(&line);
        }
        assert_eq!(queue.dropped(), 2);
        drop(opener);
        queue.flush();
        assert_eq!(written.lock().unwrap().len(), BYTES);
    }

    #[test]
    fn lines_with_less_room_leave_the_rest_to_others() {
        let (queue, opener, written) = gated();
        let line = vec![b'x'; BYTES / 8];
        (0..8).for_each(|_| queue.push_within(BYTES / 2, &line));
        assert_eq!(queue.dropped(), 4);
        queue.push(&line);
        assert_eq!(queue.dropped(), 4, "a line about a fault still fits");
        drop(opener);
        queue.flush();
        assert_eq!(written.lock().unwrap().len(), 5 * (BYTES / 8));
    }

    #[test]
    fn the_end_of_the_program_does_not_wait_for_a_reader_for_long() {
        let (queue, _opener, written) = gated();
        queue.push(b"line\n");
        queue.flush();
        assert!(written.lock().unwrap().is_empty());
    }

    #[test]
    fn a_reader_that_is_gone_costs_its_lines_and_nothing_else() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let queue = LogQueue::to(Gone).unwrap();
        for _ in 0..3 {
            queue.push(b"line\n");
        }
        queue.flush();
        assert_eq!(queue.dropped(), 3);
    }
}
