//! Listing of the pins in Redis, by a scan of each server.
//!
//! 1. The servers are gone through in the order of their addresses, each by `SCAN` over the names
//!    with the prefix. A cursor is `number@server`, or the number alone where there is one server;
//!    so a listing can continue at any replica.
//! 2. The values are read, 64 at once. Each read is a call of its own, so the guard counts it, and
//!    a listing cannot take more than its part of the calls under way.
//! 3. What is not a pin is left out: another type, a value that cannot be read, a link, an
//!    observed claim, and a pin
//!    that no replica of Redis has confirmed where that is required.
//!
//! `SCAN` guarantees what [`Inspect::list`] promises: a name that is there from the beginning to
//! the end is met. It may be met twice while Redis resizes its table; within one page duplicates
//! are removed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::RedisStore;
use super::connection::Commands;
use super::errors::store_error;
use super::names::is_of_observed;
use super::node::Node;
use super::protocol::value::{self, MAX_VALUE_LEN};
use super::protocol::{self, Protocol, confirmed};
use crate::admin::{Inspect, Inspected, PinPage, StoredKey, StoredPin};
use crate::store::Claim;
use crate::store::inspect::is_link;
use crate::{AffinityKey, Epoch, Expiry, Selection, StoreError, StoreErrorKind};

/// The most places that a server is asked to look at in one command: it does nothing else meanwhile.
const MAX_SCAN: usize = 256;

/// How many values are read at once.
const AT_ONCE: usize = 64;

/// Where a scan is: a server, and that server's cursor.
struct Place {
    /// Empty if there is only one.
    server: String,
    cursor: u64,
}

impl Place {
    /// Any `u64` is a cursor for Redis, which goes on from somewhere; a text that holds none is
    /// refused.
    fn parse(text: &str) -> Option<Self> {
        let (cursor, server) = text.split_once('@').unwrap_or((text, ""));
        Some(Self { server: server.to_owned(), cursor: cursor.parse().ok()? })
    }

    /// What `parse` reads.
    fn text(&self) -> String {
        let Self { server, cursor } = self;
        if server.is_empty() { cursor.to_string() } else { format!("{cursor}@{server}") }
    }
}

/// Its address as text, empty for the only server.
fn server(node: &Node) -> String {
    node.server().map(ToString::to_string).unwrap_or_default()
}

/// One `SCAN` on one server, with its values. An empty page is usual where other programs keep
/// their keys in the same Redis.
async fn page(
    store: &RedisStore,
    cursor: Option<&str>,
    limit: usize,
) -> Result<PinPage, StoreError> {
    let protocol = store.protocol();
    let from = match cursor {
        None => Place { server: String::new(), cursor: 0 },
        Some(text) => Place::parse(text).ok_or(StoreErrorKind::InvalidCursor)?,
    };
    let mut nodes = protocol.servers.topology().borrow().nodes.clone();
    nodes.sort_by_cached_key(|node| server(node));
    // A server that is gone is passed over; what it had is with others.
    let mut nodes = nodes.into_iter().skip_while(|node| server(node) < from.server);
    let Some(node) = nodes.next() else {
        let none = cursor.is_none();
        let kind = if none { StoreErrorKind::Unavailable } else { StoreErrorKind::InvalidCursor };
        return Err(kind.into());
    };
    let at = if server(&node) == from.server { from.cursor } else { 0 };
    let count = limit.clamp(1, MAX_SCAN);
    let scan = async {
        let commands = node.commands(protocol.servers.command_timeout());
        commands.scan(at, &protocol.names.pattern(), count).await.map_err(store_error)
    };
    let (cursor, mut found) = node.guard.call(scan).await?;
    found.sort_unstable();
    found.dedup();
    let next = match cursor {
        0 => nodes.next().map(|node| Place { server: server(&node), cursor: 0 }),
        cursor => Some(Place { server: server(&node), cursor }),
    };
    let pins = read_all(store, found).await?;
    Ok(PinPage { pins, next: next.map(|place| place.text()) })
}

/// The pins among `names`.
async fn read_all(store: &RedisStore, names: Vec<Bytes>) -> Result<Vec<StoredPin>, StoreError> {
    let mut names = names.into_iter().filter_map(|name| String::from_utf8(name.into()).ok());
    let (mut reads, mut pins) = (JoinSet::new(), Vec::new());
    let mut begin = |reads: &mut JoinSet<_>| {
        if let Some(name) = names.next() {
            let store = store.clone();
            reads.spawn(async move { read_stored(&store, &name).await });
        }
    };
    (0..AT_ONCE).for_each(|_| begin(&mut reads));
    while let Some(read) = reads.join_next().await {
        match read.map_err(|error| StoreError::new(StoreErrorKind::Unavailable, error))? {
            Ok(pin) => pins.extend(pin),
            // It does not count yet.
            Err(error) if error.kind() == StoreErrorKind::Unconfirmed => {}
            Err(error) => return Err(error),
        }
        begin(&mut reads);
    }
    Ok(pins)
}

/// What rests under a name in Redis, as [`RedisStore::stored_text`] reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredText {
    /// The value. What is no UTF-8 is replaced, and what exceeds 64 KiB is left out.
    pub text: String,
    /// Time until it expires; `None` without an expiry.
    pub left: Option<Duration>,
}

/// What rests under a whole name; `None` for nothing.
pub(super) async fn stored_text(
    protocol: &Protocol,
    name: &str,
) -> Result<Option<StoredText>, StoreError> {
    let read = |commands: Commands| async move { commands.read(name, MAX_VALUE_LEN).await };
    let read = async { protocol.servers.run(name, read).await.map_err(store_error) };
    let (held, left) = protocol.servers.call(name, read).await?;
    if left == -2 {
        return Ok(None);
    }
    let left = u64::try_from(left).map(Duration::from_millis).ok();
    Ok(Some(StoredText { text: String::from_utf8_lossy(&held).into_owned(), left }))
}

/// The pin under a whole name, if the value there is a pin. Does not count as a use.
async fn read_stored(store: &RedisStore, name: &str) -> Result<Option<StoredPin>, StoreError> {
    let protocol = &**store.protocol();
    let Protocol { servers, names, .. } = protocol;
    let Some(key) = name.strip_prefix(names.prefix()).filter(|key| !is_of_observed(key)) else {
        return Ok(None);
    };
    let read = |commands: Commands| async move { commands.read(name, MAX_VALUE_LEN).await };
    let read = async { servers.run(name, read).await.map_err(store_error) };
    let (held, left) = match servers.call(name, read).await {
        Ok(read) => read,
        // A key of another type.
        Err(error) if error.kind() == StoreErrorKind::Invalid => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(Some(stored)) = value::decode(&held, name) else {
        return Ok(None);
    };
    if left == -2 || is_link(&stored.pin.selection) {
        return Ok(None);
    }
    let pin = servers.call(name, confirmed(protocol, name, stored)).await?;
    let left = u64::try_from(left).map(Duration::from_millis).ok();
    let age = store.age(&pin);
    let found = StoredPin::new(StoredKey::new(key), pin, left);
    Ok(Some(found.with_session(names.read(key)).with_age(age)))
}

impl Inspect for RedisStore {
    fn list<'a>(&'a self, cursor: Option<&'a str>, limit: usize) -> Inspected<'a, PinPage> {
        Box::pin(page(self, cursor, limit))
    }

    fn stored_keys(&self, key: &AffinityKey) -> Vec<StoredKey> {
        let names = [Some(self.names().current(key)), self.names().previous(key)];
        let prefix = self.names().prefix();
        let bare = |name: String| name.strip_prefix(prefix).map(StoredKey::new);
        names.into_iter().flatten().filter_map(bare).collect()
    }

    fn find<'a>(&'a self, key: &'a StoredKey) -> Inspected<'a, Option<StoredPin>> {
        Box::pin(async { read_stored(self, &self.whole_name(key)).await })
    }

    fn repin_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &'a Expiry,
    ) -> Inspected<'a, Option<Claim>> {
        Box::pin(self.move_stored(key, from, selection, expiry))
    }

    fn release_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        epoch: Option<Epoch>,
    ) -> Inspected<'a, bool> {
        Box::pin(async move {
            protocol::release_name(self.protocol(), &self.whole_name(key), epoch).await
        })
    }
}
