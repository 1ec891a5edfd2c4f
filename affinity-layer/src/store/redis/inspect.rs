//! Listing of the pins in Redis, by a scan of each server.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::conn::Conn;
use super::{Node, RedisStore, failed, scripts, value};
use crate::admin::{Inspect, Inspected, PinPage, StoredKey, StoredPin};
use crate::store::Claim;
use crate::store::inspect::is_link;
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError, StoreErrorKind};

/// The most places that a server is asked to look at in one command: it does nothing else meanwhile.
const MAX_SCAN: usize = 256;

/// How many values are read at once.
const AT_ONCE: usize = 64;

/// Where a scan is: a server, and what that calls the place.
struct Place {
    /// Nothing where there is only one.
    server: String,
    cursor: u64,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (cursor, server) = text.split_once('@').unwrap_or((text, ""));
        Some(Self { server: server.to_owned(), cursor: cursor.parse().ok()? })
    }

    fn text(&self) -> String {
        let Self { server, cursor } = self;
        if server.is_empty() { cursor.to_string() } else { format!("{cursor}@{server}") }
    }
}

fn server(node: &Node) -> String {
    node.server().map(ToString::to_string).unwrap_or_default()
}

impl RedisStore {
    async fn page(&self, cursor: Option<&str>, limit: usize) -> Result<PinPage, StoreError> {
        let from = match cursor {
            None => Place { server: String::new(), cursor: 0 },
            Some(text) => Place::parse(text).ok_or(StoreErrorKind::InvalidCursor)?,
        };
        let mut nodes = self.servers().map().borrow().nodes.clone();
        nodes.sort_by_cached_key(|node| server(node));
        // A server that is gone is passed over; what it had is with others.
        let mut nodes = nodes.into_iter().skip_while(|node| server(node) < from.server);
        let Some(node) = nodes.next() else {
            let none = cursor.is_none();
            let kind =
                if none { StoreErrorKind::Unavailable } else { StoreErrorKind::InvalidCursor };
            return Err(kind.into());
        };
        let at = if server(&node) == from.server { from.cursor } else { 0 };
        let count = limit.clamp(1, MAX_SCAN);
        let scan = async {
            let pattern = self.names().pattern();
            node.conn(self.command_timeout()).scan(at, &pattern, count).await.map_err(failed)
        };
        let (cursor, mut found) = node.guard.call(scan).await?;
        found.sort_unstable();
        found.dedup();
        let next = match cursor {
            0 => nodes.next().map(|node| Place { server: server(&node), cursor: 0 }),
            cursor => Some(Place { server: server(&node), cursor }),
        };
        let pins = self.read_all(found).await?;
        Ok(PinPage { pins, next: next.map(|place| place.text()) })
    }

    /// The pins among `names`.
    async fn read_all(&self, names: Vec<Bytes>) -> Result<Vec<StoredPin>, StoreError> {
        let mut names = names.into_iter().filter_map(|name| String::from_utf8(name.into()).ok());
        let (mut reads, mut pins) = (JoinSet::new(), Vec::new());
        let mut begin = |reads: &mut JoinSet<_>| {
            if let Some(name) = names.next() {
                let store = self.clone();
                reads.spawn(async move { store.look(&name).await });
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

    /// The pin of a whole name, if a pin is what stands there.
    async fn look(&self, name: &str) -> Result<Option<StoredPin>, StoreError> {
        let Some(key) = name.strip_prefix(self.names().prefix()) else {
            return Ok(None);
        };
        let read = |conn: Conn| async move { conn.read(name).await };
        let read = async { self.servers().run(name, read).await.map_err(failed) };
        let (held, left) = match self.call(name, read).await {
            Ok(read) => read,
            // Something of somebody else.
            Err(error) if error.kind() == StoreErrorKind::Invalid => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(Some(stored)) = value::decode(&held, name) else {
            return Ok(None);
        };
        if left == -2 || is_link(&stored.pin.selection) {
            return Ok(None);
        }
        let pin = self.call(name, self.confirmed(name, stored)).await?;
        let left = u64::try_from(left).map(Duration::from_millis).ok();
        let session = self.names().read(key);
        Ok(Some(StoredPin { key: StoredKey::new(key), session, pin, left }))
    }

    /// The name of a stored key with its prefix.
    pub(crate) fn whole_name(&self, key: &StoredKey) -> String {
        format!("{}{}", self.names().prefix(), key.as_str())
    }

    async fn move_name(
        &self,
        key: &StoredKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let name = self.whole_name(key);
        let moving = Pin { claimed_at: UNIX_EPOCH, ..self.pin_after(from, selection) };
        let claim = self.call(&name, self.try_move(&name, from, &moving, expiry)).await?;
        if let Some(claim) = &claim {
            self.0.clock.saw(claim.pin.epoch);
        }
        Ok(claim)
    }

    async fn release_name(
        &self,
        key: &StoredKey,
        epoch: Option<Epoch>,
    ) -> Result<bool, StoreError> {
        let name = self.whole_name(key);
        let epoch = epoch.map(|epoch| epoch.0.to_string()).unwrap_or_default();
        let release = self.eval::<i64>(scripts::RELEASE, &name, vec![epoch.into()]);
        Ok(self.call(&name, release).await? > 0)
    }
}

impl Inspect for RedisStore {
    fn list<'a>(&'a self, cursor: Option<&'a str>, limit: usize) -> Inspected<'a, PinPage> {
        Box::pin(self.page(cursor, limit))
    }

    fn stored_keys(&self, key: &AffinityKey) -> Vec<StoredKey> {
        let names = [Some(self.names().current(key)), self.names().previous(key)];
        let prefix = self.names().prefix();
        let bare = |name: String| name.strip_prefix(prefix).map(StoredKey::new);
        names.into_iter().flatten().filter_map(bare).collect()
    }

    fn find<'a>(&'a self, key: &'a StoredKey) -> Inspected<'a, Option<StoredPin>> {
        Box::pin(async { self.look(&self.whole_name(key)).await })
    }

    fn repin_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &'a Expiry,
    ) -> Inspected<'a, Option<Claim>> {
        Box::pin(self.move_name(key, from, selection, expiry))
    }

    fn release_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        epoch: Option<Epoch>,
    ) -> Inspected<'a, bool> {
        Box::pin(self.release_name(key, epoch))
    }
}
