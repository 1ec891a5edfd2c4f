//! A wall clock of a process that can be set, by libfaketime.

use std::path::PathBuf;

use tempfile::TempDir;

/// The wall clock of the processes that are started with its [`commands`](Self::commands).
#[derive(Debug)]
pub struct WrongClock {
    folder: TempDir,
    preloaded: PathBuf,
    steady: bool,
}

impl WrongClock {
    /// A clock that is `offset` off, such as `-30d`. The steady clock stays right, as it does in a
    /// machine whose time is set.
    ///
    /// # Panics
    ///
    /// When libfaketime is not installed.
    #[must_use]
    pub fn off_by(offset: &str) -> Self {
        Self::new(offset, true)
    }

    /// The same for the steady clock too, which no machine does: it shows what would happen if
    /// lifetimes went by a clock that jumps.
    #[must_use]
    pub fn with_the_steady_one(offset: &str) -> Self {
        Self::new(offset, false)
    }

    fn new(offset: &str, steady: bool) -> Self {
        let folders = std::fs::read_dir("/usr/lib").expect("a system's libraries").flatten();
        let preloaded = folders
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|file| file.exists())
            .expect("libfaketime is not installed; get it by `apt-get install faketime`");
        let clock = Self { folder: tempfile::tempdir().expect("a folder"), preloaded, steady };
        clock.set(offset);
        clock
    }

    /// Sets the clock: `+30d`, or `+0 x60` for one that is 60 times as fast.
    ///
    /// # Panics
    ///
    /// When the file that holds it cannot be written.
    pub fn set(&self, offset: &str) {
        // It is read at every look at the time, and must never be half written.
        let new = self.folder.path().join("new");
        std::fs::write(&new, offset).expect("a file");
        std::fs::rename(new, self.file()).expect("a file");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// What a shell has to run before it starts a process with this clock.
    #[must_use]
    pub fn commands(&self) -> String {
        let set = self.variables().map(|(name, value)| format!(" {name}='{value}'"));
        format!("export{}", set.concat())
    }

    /// The environment of a process with this clock that brings an allocator of its own: one that asks
    /// for the time before libfaketime has its memory would end it, so it gets that of the C library.
    pub(crate) fn with_plain_memory(&self) -> [(&'static str, String); 4] {
        let mut variables = self.variables();
        variables[0].1.push_str(" libc.so.6");
        variables
    }

    fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", self.preloaded.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", u8::from(self.steady).to_string()),
        ]
    }
}
