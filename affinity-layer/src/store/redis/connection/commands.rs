//! The commands that pins are made of, on one connection.
//!
//! Besides these and the scripts, Redis hears the greeting and the name of a connection, `ECHO`,
//! and what a follower asks (`CLIENT TRACKING`, `INFO`); `docs/redis.md` has the access list that
//! follows.
//!
//! Commands that belong together are sent together: the second does not wait for the answer to the
//! first, so a read of a value and its time left is one round trip.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::WithOptions;
use fred::error::Error;
use fred::prelude::{
    Client, ClientLike, Expiration, FromValue, KeysInterface, LuaInterface, Options, SetOptions,
};
use fred::types::{ClusterHash, CustomCommand, ExpireOptions, Value};

use super::doubt::ConnectionDoubt;

/// Futures of the client are large, and a request must not carry the room for them when it is not
/// under way to Redis.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The commands on one connection, each of which ends within a time limit.
#[derive(Clone)]
pub(crate) struct Commands {
    client: WithOptions<Client>,
    doubt: Option<Arc<ConnectionDoubt>>,
    asking: bool,
}

impl Commands {
    /// Commands end within `limit`, and at once while the client is not connected.
    pub(crate) fn new(client: &Client, limit: Duration) -> Self {
        let options = Options { fail_fast: true, timeout: Some(limit), ..Options::default() };
        Self { client: client.with_options(&options), doubt: None, asking: false }
    }

    /// Errors on the connection that may mean that it is out of step raise `doubt`.
    pub(crate) fn doubting(self, doubt: &Arc<ConnectionDoubt>) -> Self {
        Self { doubt: Some(doubt.clone()), ..self }
    }

    /// The same for slots that the server is about to take over: each command goes behind `ASKING`.
    ///
    /// `ASKING` applies to the next command on the connection, whoever sent that. So the connection may
    /// carry only commands that the slot's server redirected here.
    pub(crate) fn asking(client: &Client, limit: Duration) -> Self {
        Self { asking: true, ..Self::new(client, limit) }
    }

    /// Waits for the connection, which may be a new one.
    pub(crate) async fn connected(&self) -> Result<(), Error> {
        self.client.wait_for_connect().await
    }

    /// Sends what `command` sends when it is polled first.
    ///
    /// On the `asking` connection, `ASKING` and the command are polled in this order and written
    /// one behind the other.
    async fn send<T>(&self, command: Boxed<'_, T>) -> Result<T, Error> {
        if !self.asking {
            return self.heard(command.await);
        }
        let asking = self.custom("ASKING", vec![]);
        let ((), answer) = self.heard(tokio::try_join!(biased; asking, command))?;
        Ok(answer)
    }

    /// Every answer passes here, so that one that makes no sense puts the connection in doubt.
    fn heard<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        if let (Err(error), Some(doubt)) = (&answer, &self.doubt) {
            doubt.heard(error);
        }
        answer
    }

    /// A command by its name. Its node was chosen before, so the hash policy plays no part.
    async fn custom<T: FromValue>(&self, name: &'static str, args: Vec<Value>) -> Result<T, Error> {
        let command = CustomCommand::new_static(name, ClusterHash::Random, false);
        let sent: Boxed<'_, T> = Box::pin(self.client.custom(command, args));
        self.heard(sent.await)
    }

    /// A value, empty if there is none, and its time left in milliseconds.
    ///
    /// Both commands are sent before the first answer is back. A longer value is cut after the byte
    /// at index `longest`, so that a foreign one cannot fill the memory.
    pub(crate) async fn read(&self, name: &str, longest: usize) -> Result<(Bytes, i64), Error> {
        let value = self.send(Box::pin(self.client.getrange(name, 0, longest)));
        let left = self.send(Box::pin(self.client.pttl(name)));
        tokio::try_join!(biased; value, left)
    }

    /// Defers the end of a value to `ttl` milliseconds from now, unless it is later, and reads it behind
    /// that.
    pub(crate) async fn renew(
        &self,
        name: &str,
        ttl: i64,
        longest: usize,
    ) -> Result<(Bytes, i64), Error> {
        let later = Some(ExpireOptions::GT);
        let expire = self.send::<i64>(Box::pin(self.client.pexpire(name, ttl, later)));
        let (_, read) = tokio::try_join!(biased; expire, self.read(name, longest))?;
        Ok(read)
    }

    /// Runs a script by its text (`EVAL`): a server that has just taken over need not know it
    /// beforehand.
    pub(crate) async fn eval<T: FromValue>(
        &self,
        script: &'static str,
        name: &str,
        args: Vec<Value>,
    ) -> Result<T, Error> {
        self.send(Box::pin(self.client.eval(script, name, args))).await
    }

    /// Removes one field of a hash, see `notes.rs`; says whether it was there.
    pub(crate) async fn remove_field(&self, name: &str, field: &str) -> Result<bool, Error> {
        self.custom("HDEL", vec![name.into(), field.into()]).await
    }

    /// Some of the names that match, among about `count` from `cursor` on, and where to continue; 0 at
    /// the end.
    ///
    /// Only strings are listed: pins are strings, and `notes.rs` keeps a hash under the same
    /// prefix.
    pub(crate) async fn scan(
        &self,
        cursor: u64,
        pattern: &str,
        count: usize,
    ) -> Result<(u64, Vec<Bytes>), Error> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let scan: [Value; 7] = [
            cursor.to_string().into(),
            "MATCH".into(),
            pattern.into(),
            "COUNT".into(),
            count.into(),
            "TYPE".into(),
            "string".into(),
        ];
        self.custom("SCAN", scan.into()).await
    }

    /// Sets `name` unless it is set, and gives what it was set to before.
    ///
    /// `SET name value NX GET PX ttl`, the claim: `None` means that the value was set. Redis 7.0
    /// brought `NX` and `GET` together.
    pub(crate) async fn set_new(
        &self,
        name: &str,
        value: &str,
        ttl: i64,
    ) -> Result<Option<Bytes>, Error> {
        let (ttl, nx) = (Some(Expiration::PX(ttl)), Some(SetOptions::NX));
        self.send(Box::pin(self.client.set(name, value, ttl, nx, true))).await
    }

    /// Writes `name`, to expire within a second, and gives how many replicas hold that and
    /// everything before it, after `wait` milliseconds at most.
    ///
    /// `WAIT` covers only the writes of its own connection; hence the write. Replication keeps the
    /// order, so a replica that has this write has all that came before it, whoever made it.
    pub(crate) async fn barrier(&self, name: &str, wait: i64) -> Result<i64, Error> {
        let soon = Some(Expiration::PX(1000));
        let set = self.send(Box::pin(self.client.set(name, 1, soon, None, false)));
        let held = self.custom("WAIT", vec![1.into(), wait.into()]);
        let ((), held) = tokio::try_join!(biased; set, held)?;
        Ok(held)
    }

    /// Lets a name end in `ttl` milliseconds.
    pub(crate) async fn expire(&self, name: &str, ttl: i64) -> Result<(), Error> {
        self.send(Box::pin(self.client.pexpire(name, ttl, None))).await
    }

    /// The server's clock: seconds since 1970, and microseconds of the second.
    pub(crate) async fn time(&self) -> Result<(u64, u64), Error> {
        self.custom("TIME", vec![]).await
    }

    /// A section of what the server tells of itself.
    pub(crate) async fn info(&self, section: &'static str) -> Result<String, Error> {
        self.custom("INFO", vec![section.into()]).await
    }

    /// What the server knows of its cluster: its epoch, and which node serves which slots.
    pub(crate) async fn cluster(&self) -> Result<(String, Value), Error> {
        let info = self.custom("CLUSTER", vec!["INFO".into()]);
        let slots = self.custom("CLUSTER", vec!["SLOTS".into()]);
        tokio::try_join!(biased; info, slots)
    }
}
