//! Loopback ports that a server may take, and take again after a restart.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// Below the range that the kernel gives to outgoing connections: otherwise a client that dials a
/// dead server's port could be given that very port for its own end, and be connected to itself.
const FIRST: u64 = 18_000;
const COUNT: u64 = 14_000;

/// A port that was free a moment ago. Another process may take it first, so a server that cannot
/// bind it is started again on another.
pub(crate) fn free() -> u16 {
    (0..1_000)
        .map(|attempt: u64| FIRST + RandomState::new().hash_one(attempt) % COUNT)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("no free port on loopback within 1,000 attempts")
}
