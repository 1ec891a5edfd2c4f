//! Replicas as processes of their own: this program, started with other arguments.

use std::env;
use std::process::{Child, Command};

use affinity_benches::Failure;

/// Killed when dropped.
#[derive(Default)]
pub(crate) struct Processes(Vec<Child>);

impl Processes {
    /// Starts `count` replicas from number `first` on, of a fleet of `all`, in one process.
    pub(crate) fn start(
        &mut self,
        url: &str,
        first: usize,
        count: usize,
        all: usize,
    ) -> Result<(), Failure> {
        let numbers = [first, count, all].map(|number| number.to_string());
        let child =
            Command::new(env::current_exe()?).args(["--replicas", url]).args(numbers).spawn()?;
        self.0.push(child);
        Ok(())
    }

    /// Stops the first process in its tracks.
    pub(crate) fn freeze_first(&self) -> Result<(), Failure> {
        let first = self.0.first().ok_or("there is no process")?;
        let stopped = Command::new("kill").args(["-STOP", &first.id().to_string()]).status()?;
        if stopped.success() { Ok(()) } else { Err("a replica cannot be frozen".into()) }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that is gone already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
