//! What a process and its children use, from `/proc`.

use std::fs;
use std::time::Duration;

/// Processor time so far of all living threads of `process` and its children, to the nanosecond.
pub(crate) fn cpu(process: u32) -> Duration {
    tasks(process)
        .iter()
        .filter_map(|task| fs::read_to_string(format!("{task}/schedstat")).ok())
        .filter_map(|stat| stat.split_whitespace().next()?.parse().ok())
        .map(Duration::from_nanos)
        .sum()
}

/// Resident memory of `process` and its children in bytes; what they share counts once for each.
pub(super) fn resident(process: u32) -> u64 {
    let own = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let own = own.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let children: u64 = children(process).into_iter().map(resident).sum();
    own.unwrap_or_default() * 1024 + children
}

fn tasks(process: u32) -> Vec<String> {
    let own = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    let own = own.flatten().map(|entry| entry.path().display().to_string());
    let below = children(process).into_iter().flat_map(tasks);
    own.chain(below).collect()
}

fn children(process: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    list.unwrap_or_default().split_whitespace().filter_map(|id| id.parse().ok()).collect()
}
