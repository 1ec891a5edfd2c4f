//! Who serves which slots, as one node of a cluster sees it.
//!
//! Only what pins need is read from the answers: slots and their primaries. Replicas are left out,
//! since a replica may not have the pin that was just claimed. What cannot be understood is left
//! out as well: a slot without a node is asked for again, and an error in one range must not lose
//! the others.

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
    /// Reads the answers to `CLUSTER INFO` and `CLUSTER SLOTS`; `None` if no slot is served.
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

/// An answer without a host means the node that was asked.
///
/// A node that does not know its own address sends an empty one; it was reached, so the address by
/// which it was asked is right.
pub(super) fn server(host: &str, port: u16, asked: &Server) -> Option<Server> {
    match host {
        "" => Some(Server::new(asked.host.clone(), port)),
        // The node is to be announced by a name and has none.
        "?" => None,
        host => Some(Server::new(host.to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
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
}
