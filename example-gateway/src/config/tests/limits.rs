//! The limits and their bounds.

use super::*;

#[test]
fn every_limit_is_read() {
    let names = Limits::default().named();
    let last = 8192 + names.len() as u128;
    let given = |(n, (name, _)): (u128, &(&str, u128))| format!("  {name}: {}\n", 8192 + n);
    // Few enough fields for the one limit that does not reach 8192, and memory for a body.
    let given: String = (0..).zip(&names).map(given).collect();
    let limits =
        with_model(&format!("limits:\n{}", given.replace("8198", "99").replace("8193", "1048577")))
            .limits;
    let read = limits.named().map(|(_, value)| value);
    let expected: Vec<u128> = (8192..last)
        .map(|n| match n {
            8193 => 1_048_577,
            8198 => 99,
            n => n,
        })
        .collect();
    assert_eq!(read.to_vec(), expected);
    assert_ne!(limits, Limits::default());
}

#[test]
fn a_limit_out_of_bounds_is_refused() {
    refused(&[
        (
            "limits: {body_bytes: 1023}",
            "2: limits.body_bytes: must be a whole number of bytes, 1024 to 1073741824",
        ),
        (
            "limits: {body_memory_bytes: 1023}",
            "2: limits.body_memory_bytes: must be a whole number of bytes, 1048576 to 17592186044416",
        ),
        (
            "limits: {header_timeout_ms: 0}",
            "2: limits.header_timeout_ms: must be a whole number of milliseconds, 1 to 86400000",
        ),
        (
            "limits: {max_connections: none}",
            "2: limits.max_connections: must be a whole number, 1 to 1000000",
        ),
        (
            "limits: {max_request: 1}",
            "2: limits.max_request: unknown key, did you mean max_requests?",
        ),
    ]);
}

#[test]
fn memory_for_bodies_is_a_quarter_unless_it_is_given() {
    let read = |value: &str| with_model(&format!("limits: {{body_memory_bytes: {value}}}")).limits;
    assert_eq!(read("2097152").body_memory(), 2_097_152);
    assert_eq!(read("auto"), Limits::default());
    assert!(Limits::default().body_memory() > 1 << 20);
}
