//! A process of ours and the lines that it writes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Time for a process to say that it serves.
const START: Duration = Duration::from_secs(20);

/// Starts a process that is killed when the child is dropped.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    // Of a process group of its own, so that Ctrl-C reaches us alone and we end it in order.
    command.kill_on_drop(true).process_group(0).spawn()
}

/// The lines of one of a process's streams.
pub(super) struct Output<R>(Lines<BufReader<R>>);

impl<R: AsyncRead + Unpin + Send + 'static> Output<R> {
    pub(super) fn new(stream: R) -> Self {
        Self(BufReader::new(stream).lines())
    }

    /// The first line in which `find` finds something.
    ///
    /// # Errors
    ///
    /// When the stream ends before, with its last line, or nothing is found within 20 s.
    pub(super) async fn find<T>(
        &mut self,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> io::Result<T> {
        let found = timeout(START, async {
            let mut last = String::new();
            while let Some(line) = self.0.next_line().await? {
                if let Some(found) = find(&line) {
                    return Ok(found);
                }
                last = line;
            }
            Err(io::Error::other(format!("it ended: {last}")))
        });
        let late = || io::Error::other(format!("it is not ready after {} s", START.as_secs()));
        found.await.unwrap_or_else(|_| Err(late()))
    }

    /// Reads on to the end, so that the process never waits for a reader.
    pub(super) fn drain(mut self, take: impl Fn(&str) + Send + 'static) {
        tokio::spawn(async move {
            while let Ok(Some(line)) = self.0.next_line().await {
                take(&line);
            }
        });
    }
}
