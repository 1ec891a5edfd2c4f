//! A child process and the lines that it writes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Time for a process to say that it serves.
const START: Duration = Duration::from_secs(20);

/// How often the end of a killed process is looked for.
const END_PAUSE: Duration = Duration::from_millis(1);

/// A running process, killed and reaped on drop.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        // In a process group of its own, so that Ctrl-C reaches only us and we stop it in order.
        command.process_group(0).spawn().map(Self)
    }

    /// The process id; 0 when it has ended.
    pub(super) fn id(&self) -> u32 {
        self.0.id().unwrap_or_default()
    }

    pub(super) fn stdin(&mut self) -> io::Result<ChildStdin> {
        self.0.stdin.take().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    pub(super) fn stdout(&mut self) -> io::Result<Output<ChildStdout>> {
        self.0.stdout.take().map(Output::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    pub(super) fn stderr(&mut self) -> io::Result<Output<ChildStderr>> {
        self.0.stderr.take().map(Output::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // No process survives SIGKILL, so the wait is short. Without it, an unreaped process would stay
        // behind where nothing else reaps, as in most containers.
        if self.0.start_kill().is_ok() {
            while let Ok(None) = self.0.try_wait() {
                std::thread::sleep(END_PAUSE);
            }
        }
    }
}

/// The lines of one of a process's streams.
pub(super) struct Output<R>(Lines<BufReader<R>>);

impl<R: AsyncRead + Unpin + Send + 'static> Output<R> {
    fn new(stream: R) -> Self {
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
