//! A TCP proxy that misbehaves on demand, to be put between a client and any server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::port;

/// How long the listener may take to follow a change of mode.
const LIMIT: Duration = Duration::from_secs(5);
/// The pace of [`Mode::Trickle`].
const TRICKLE: Duration = Duration::from_secs(1);

/// What the proxy does to the bytes of every connection, old and new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Hands everything on.
    Pass,
    /// Hands on nothing, and everything once the mode changes: a partition that heals.
    Stall,
    /// Accepts bytes and loses them. A connection that lost some is reset when the mode changes,
    /// since TCP never delivers a stream with a hole in it.
    BlackHole,
    /// New connections are refused; existing ones continue.
    Refuse,
    /// Hands each read of the server's bytes on this much later.
    Delay(Duration),
    /// Hands the server's bytes on one per second.
    Trickle,
}

/// A proxy on loopback in front of one address. Dropping it closes all its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Counts the cuts, so that each connection sees every one.
    cuts: watch::Sender<u64>,
    listening: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of `upstream`, passing at first.
    ///
    /// # Panics
    /// When no port of loopback can be bound.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port::free()))
            .await
            .expect("binding the proxy's port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let (mode, mode_seen) = watch::channel(Mode::Pass);
        let (cuts, cuts_seen) = watch::channel(0);
        let (listens, listening) = watch::channel(true);
        let line = Line { upstream, mode: mode_seen, cuts: cuts_seen };
        let task = tokio::spawn(serve(listener, addr, line, listens));
        Self { addr, mode, cuts, listening, task }
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the mode. When this returns, new connections meet it.
    ///
    /// # Panics
    /// When the proxy's port, once given up for [`Mode::Refuse`], cannot be taken again.
    pub async fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
        let mut listening = self.listening.clone();
        let followed = listening.wait_for(|listening| *listening == (mode != Mode::Refuse));
        match timeout(LIMIT, followed).await {
            Ok(Ok(_)) => {}
            _ => panic!("the proxy on {} did not change to {mode:?}", self.addr),
        }
    }

    /// Resets all existing connections (RST, without the rest of their bytes).
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What each connection goes by.
#[derive(Clone)]
struct Line {
    upstream: SocketAddr,
    mode: watch::Receiver<Mode>,
    cuts: watch::Receiver<u64>,
}

async fn serve(first: TcpListener, addr: SocketAddr, mut line: Line, listens: watch::Sender<bool>) {
    // Aborts the connections when this task ends.
    let mut connections = JoinSet::new();
    let mut listener = Some(first);
    loop {
        let refuses = *line.mode.borrow_and_update() == Mode::Refuse;
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(addr).await.expect("taking the proxy's port again"));
        }
        listens.send_replace(!refuses);
        tokio::select! {
            changed = line.mode.changed() => if changed.is_err() { return },
            accepted = accept(listener.as_ref()) => {
                line.cuts.mark_unchanged();
                connections.spawn(connection(accepted, line.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        // An error here is that of one connection, gone before it was accepted.
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
    }
}

/// Carries one connection until both sides have ended; resets both when it breaks or is cut.
async fn connection(mut client: TcpStream, mut line: Line) {
    let Ok(mut server) = TcpStream::connect(line.upstream).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ended_well = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let both = async {
            tokio::try_join!(
                pump(client_read, server_write, line.mode.clone(), Side::Client),
                pump(server_read, client_write, line.mode.clone(), Side::Server),
            )
        };
        tokio::select! {
            _ = line.cuts.changed() => false,
            done = both => done.is_ok(),
        }
    };
    if !ended_well {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Whose bytes a pump carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// Carries the bytes of one side to the other, its end included.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
    side: Side,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = from.read(&mut buffer).await?;
        let mut bytes = &buffer[..len];
        // The end of the stream is carried like a byte: it is an event that the other side sees.
        loop {
            let now = *mode.borrow_and_update();
            match (now, side) {
                (Mode::Stall, _) => changed(&mut mode).await?,
                (Mode::BlackHole, _) => return lose(from, mode).await,
                (Mode::Trickle, Side::Server) if !bytes.is_empty() => {
                    let (first, rest) = bytes.split_at(1);
                    to.write_all(first).await?;
                    bytes = rest;
                    tokio::select! {
                        () = sleep(TRICKLE) => {}
                        changed = changed(&mut mode) => changed?,
                    }
                }
                (Mode::Delay(delay), Side::Server) => {
                    sleep(delay).await;
                    break;
                }
                _ => break,
            }
        }
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(bytes).await?;
    }
}

/// Swallows what comes until the mode changes, and then breaks the connection.
async fn lose(mut from: impl AsyncRead + Unpin, mut mode: watch::Receiver<Mode>) -> io::Result<()> {
    let swallow = async {
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
        // After the end there is nothing more to swallow, and the other side must not notice.
        std::future::pending::<io::Result<()>>().await
    };
    tokio::select! {
        changed = changed(&mut mode) => changed?,
        broken = swallow => broken?,
    }
    Err(io::ErrorKind::ConnectionReset.into())
}

async fn changed(mode: &mut watch::Receiver<Mode>) -> io::Result<()> {
    mode.changed().await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}
