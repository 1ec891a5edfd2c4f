//! Resident memory for each session.

use std::env;
use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::process::Command;

use affinity_benches::{Failure, claim, key};
use affinity_layer::{Expiry, MemoryStore};

/// Each size in a process of its own: memory that was given back may still be resident.
pub(crate) fn table() -> Result<String, Failure> {
    let mut table = String::from(
        "| sessions | resident bytes per session | with four times as many in their places since |\n\
         |---:|---:|---:|\n",
    );
    for sessions in [100_000, 1_000_000, 10_000_000] {
        let grown = Command::new(env::current_exe()?)
            .args(["--resident", &sessions.to_string()])
            .output()?;
        let bytes = String::from_utf8_lossy(&grown.stdout);
        writeln!(table, "| {sessions} | {} |", bytes.trim())?;
    }
    Ok(table)
}

/// Other sessions that take the places of the first ones, so many times over.
const TURNS: u64 = 4;

/// Prints the bytes for each of so many sessions, in a store that is as large: when they fill it, and
/// when others have taken their places.
pub(crate) fn grow(sessions: &str) -> Result<(), Failure> {
    let sessions: u32 = sessions.parse()?;
    let before = resident()?;
    let store = MemoryStore::new(usize::try_from(sessions)?);
    let expiry = Expiry::default();
    let each = |ids: Range<u64>| -> Result<u64, Failure> {
        for id in ids {
            claim(&store, &key(id), &expiry);
        }
        if store.len() != usize::try_from(sessions)? {
            return Err(format!("{} of {sessions} sessions are held", store.len()).into());
        }
        Ok(resident()?.saturating_sub(before) / u64::from(sessions))
    };
    let first = u64::from(sessions);
    println!("{} | {}", each(0..first)?, each(first..first * (1 + TURNS))?);
    Ok(())
}

fn resident() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next()).ok_or("no VmRSS")?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}
