//! Resident memory for each session.

use std::env;
use std::fmt::Write;
use std::fs;
use std::process::Command;

use affinity_benches::{Failure, claim, key};
use affinity_layer::{Expiry, MemoryStore};

/// Each size in a process of its own: memory that was given back may still be resident.
pub(crate) fn table() -> Result<String, Failure> {
    let mut table = String::from("| sessions | resident bytes per session |\n|---:|---:|\n");
    for sessions in [100_000, 1_000_000, 10_000_000] {
        let grown = Command::new(env::current_exe()?)
            .args(["--resident", &sessions.to_string()])
            .output()?;
        let bytes = String::from_utf8_lossy(&grown.stdout);
        writeln!(table, "| {sessions} | {} |", bytes.trim())?;
    }
    Ok(table)
}

/// Prints the bytes for each of so many sessions, in a store that is as large.
pub(crate) fn grow(sessions: &str) -> Result<(), Failure> {
    let sessions: u32 = sessions.parse()?;
    let before = resident()?;
    let store = MemoryStore::new(usize::try_from(sessions)?);
    let expiry = Expiry::default();
    for n in 0..sessions {
        claim(&store, &key(u64::from(n)), &expiry);
    }
    let grown = resident()?.saturating_sub(before);
    if store.len() != usize::try_from(sessions)? {
        return Err(format!("{} of {sessions} sessions are held", store.len()).into());
    }
    println!("{}", grown / u64::from(sessions));
    Ok(())
}

fn resident() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next()).ok_or("no VmRSS")?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}
