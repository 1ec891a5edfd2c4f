//! Commands to a server, over its Unix socket.

use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::RedisServer;
use super::resp::{CommandError, Connection, Reply};

/// How long one command of the harness may take.
const LIMIT: Duration = Duration::from_secs(1);

impl RedisServer {
    /// Sends one command over a new connection, authenticated if the server has a password, and
    /// gives its reply within one second.
    ///
    /// # Errors
    /// When the server is down, silent for a second, or refuses the command.
    pub async fn cmd<A: AsRef<[u8]>>(&self, args: &[A]) -> Result<Reply, CommandError> {
        let args: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
        timeout(LIMIT, self.send(&args)).await.unwrap_or(Err(CommandError::TimedOut(LIMIT)))
    }

    /// As [`cmd`](Self::cmd), for commands that a test takes for granted.
    ///
    /// # Panics
    /// When there is no reply, or an error.
    pub async fn run<A: AsRef<[u8]>>(&self, args: &[A]) -> Reply {
        match self.cmd(args).await {
            Ok(reply) => reply,
            Err(error) => {
                let command = args.first().map(|name| String::from_utf8_lossy(name.as_ref()));
                panic!("{} on port {}: {error}", command.unwrap_or_default(), self.port())
            }
        }
    }

    async fn send(&self, args: &[&[u8]]) -> Result<Reply, CommandError> {
        let mut connection = Connection::new(UnixStream::connect(self.socket()).await?);
        if let Some(password) = self.password() {
            connection.call(&[b"AUTH", password.as_bytes()]).await?;
        }
        connection.call(args).await
    }

    /// Removes every key.
    ///
    /// # Panics
    /// When the server does not do it.
    pub async fn flushall(&self) {
        self.run(&["FLUSHALL"]).await;
    }

    /// Closes the connections of all ordinary clients and says how many there were.
    ///
    /// # Panics
    /// When the server does not do it.
    pub async fn client_kill_normal(&self) -> i64 {
        let killed = self.run(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        killed.integer().expect("CLIENT KILL counts")
    }
}
