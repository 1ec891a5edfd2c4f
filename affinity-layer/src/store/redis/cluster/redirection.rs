//! Answers that send a command on to another node.
//!
//! `MOVED` says that a slot belongs to another node now, for good. `ASK` says that it is about to:
//! this one command goes there behind `ASKING`, and the next one comes here again. To treat the two
//! alike is the classic error of cluster clients; `routing.rs` says what it would cost.

use fred::error::Error;
use fred::types::config::Server;

use super::view::server;

/// Where a node sends a command that it does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirection {
    pub(super) to: Server,
    /// The slot is moving there, and the old node does not hold the key: the new one may run this
    /// command, and only this one.
    pub(super) ask: bool,
}

impl Redirection {
    /// Reads `MOVED slot host:port` or `ASK slot host:port`, an answer by `from`.
    pub(super) fn of(error: &Error, from: &Server) -> Option<Self> {
        let mut words = error.details().split_ascii_whitespace();
        let ask = match words.next()? {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let (host, port) = words.nth(1)?.rsplit_once(':')?;
        Some(Self { to: server(host, port.parse().ok()?, from)?, ask })
    }
}

#[cfg(test)]
mod tests {
    use fred::error::ErrorKind;

    use super::*;

    fn node(host: &'static str, port: u16) -> Server {
        Server::new(host, port)
    }

    #[test]
    fn redirections_are_told_from_other_errors() {
        let of = |text: &'static str| {
            Redirection::of(&Error::new(ErrorKind::Cluster, text), &node("from", 1))
        };
        let to = |to, ask| Some(Redirection { to, ask });
        assert_eq!(of("MOVED 3999 127.0.0.1:6381"), to(node("127.0.0.1", 6381), false));
        assert_eq!(of("ASK 3999 ::1:6381"), to(node("::1", 6381), true));
        assert_eq!(of("MOVED 3999 :6381"), to(node("from", 6381), false));
        for text in ["", "ASK", "ASK 1", "ASK 1 h", "ASK 1 h:x", "ASK 1 ?:1", "ERR ASK 1 h:1"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
