//! Who serves which slots, as the nodes of a cluster tell it.

use fred::error::Error;
use fred::types::Value;
use fred::types::config::Server;

/// A range of slots and the primary that serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) by: Server,
}

/// The cluster as one of its nodes sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    /// It grows with every slot that changes its node, and every failover.
    pub(super) epoch: u64,
    /// In the order of their slots.
    pub(super) served: Vec<Served>,
}

impl View {
    /// Reads the answers to `CLUSTER INFO` and `CLUSTER SLOTS`; `None` where no slot is served.
    pub(super) fn new(info: &str, slots: Value, asked: &Server) -> Option<Self> {
        let mut lines = info.lines();
        let epoch = lines.find_map(|line| line.strip_prefix("cluster_current_epoch:"));
        let epoch = epoch.and_then(|epoch| epoch.trim().parse().ok()).unwrap_or_default();
        let Value::Array(ranges) = slots else { return None };
        let mut served: Vec<_> = ranges.into_iter().filter_map(|range| one(range, asked)).collect();
        served.sort_unstable_by_key(|range| range.first);
        (!served.is_empty()).then_some(Self { epoch, served })
    }
}

/// `[first, last, [host, port, ..], replicas ..]`
fn one(range: Value, asked: &Server) -> Option<Served> {
    let Value::Array(range) = range else { return None };
    let mut parts = range.into_iter();
    let mut slot = || parts.next()?.as_i64()?.try_into().ok();
    let (first, last) = (slot()?, slot()?);
    let Value::Array(primary) = parts.next()? else { return None };
    let mut primary = primary.into_iter();
    let (host, port) = (primary.next()?, primary.next()?.as_i64()?);
    let host = if host.is_null() { String::new() } else { host.into_string()? };
    Some(Served { first, last, by: server(&host, port.try_into().ok()?, asked)? })
}

/// Without a host it is that of the node which was asked.
fn server(host: &str, port: u16, asked: &Server) -> Option<Server> {
    match host {
        "" => Some(Server::new(asked.host.clone(), port)),
        // A node that is to be named by a name and has none.
        "?" => None,
        host => Some(Server::new(host.to_owned(), port)),
    }
}

/// Where a node sends a command that it does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirection {
    pub(super) to: Server,
    /// The slot is on its way there. The node has no such key any more, or never had, so the other one
    /// may run the command, and only this one.
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

    fn host(host: Value, port: i64) -> Value {
        Value::Array(vec![host, port.into(), "id".into(), Value::Array(vec![])])
    }

    #[test]
    fn slots_are_read_in_order_with_their_primaries() {
        let slots = Value::Array(vec![
            Value::Array(vec![
                5461.into(),
                16383.into(),
                host("10.0.0.2".into(), 7001),
                host("10.0.0.3".into(), 7002),
            ]),
            Value::Array(vec![0.into(), 5460.into(), host(Value::Null, 7000)]),
        ]);
        let info = "cluster_state:ok\r\ncluster_current_epoch:12\r\ncluster_my_epoch:3\r\n";
        let view = View::new(info, slots, &node("asked", 1)).unwrap();
        assert_eq!(view.epoch, 12);
        let served = [
            Served { first: 0, last: 5460, by: node("asked", 7000) },
            Served { first: 5461, last: 16383, by: node("10.0.0.2", 7001) },
        ];
        assert_eq!(view.served, served);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let asked = node("asked", 1);
        let odd = [
            Value::Null,
            Value::Array(vec![]),
            Value::Array(vec![0.into()]),
            Value::Array(vec![0.into(), 70000.into(), host("h".into(), 1)]),
            Value::Array(vec![(-1).into(), 1.into(), host("h".into(), 1)]),
            Value::Array(vec![0.into(), 1.into(), host("h".into(), 65536)]),
            Value::Array(vec![0.into(), 1.into(), host("?".into(), 1)]),
            Value::Array(vec![0.into(), 1.into(), "h".into()]),
        ];
        assert_eq!(View::new("", Value::Array(odd.to_vec()), &asked), None);
        assert_eq!(View::new("", "OK".into(), &asked), None);
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
