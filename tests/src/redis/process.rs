//! A child process that never outlives its owner.

use std::io::ErrorKind;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};

/// A running child, killed and reaped on drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    frozen: bool,
}

impl Process {
    /// Starts `command`, which must be `redis-server`.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        match command.spawn() {
            Ok(child) => Self { child, frozen: false },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("redis-server is not installed; get it by `apt-get install redis-server`")
            }
            Err(error) => panic!("redis-server does not start: {error}"),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal`. The child cannot be another process meanwhile, since only we reap it.
    pub(crate) fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::STOP => self.frozen = true,
            Signal::CONT => self.frozen = false,
            _ => {}
        }
        kill_process(Pid::from_child(&self.child), signal).expect("signalling our own child");
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// How it ended, or `None` while it runs.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waiting for our own child")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for one that was reaped already. Nothing withstands SIGKILL, a stopped process
        // neither, so the wait is short.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
