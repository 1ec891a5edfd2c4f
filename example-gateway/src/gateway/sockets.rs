//! The sockets: opened here, or taken over from whoever started the process.
//!
//! systemd may open them (`LISTEN_FDS`): it keeps them over a restart, so connections wait in their queue
//! and none is refused while no process accepts.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; the system may allow fewer (`net.core.somaxconn`). Those beyond
/// are dropped without a word, and try again a second later.
const BACKLOG: u32 = 4096;

/// Sockets that were opened for this process and belong to no listener yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<StdListener>);

/// A socket that is listened on.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: TcpListener,
    /// Whether another process accepts its connections when this one does not: it shares the address, or
    /// another process keeps the socket.
    pub(super) is_shared: bool,
}

impl Inherited {
    /// Those that the environment names. It must be asked once, before there are other threads.
    ///
    /// # Errors
    ///
    /// When one of them is no TCP socket that listens.
    pub fn from_environment() -> io::Result<Self> {
        let mut named = ListenFd::from_env();
        let mut sockets = Vec::new();
        for number in 0..named.len() {
            let socket = named.take_tcp_listener(number).map_err(|error| {
                let text = format!("socket {number} of LISTEN_FDS cannot be used: {error}");
                io::Error::new(error.kind(), text)
            })?;
            sockets.extend(socket);
        }
        Ok(Self(sockets))
    }

    /// The socket for `address`: one that was inherited, else a new one. With `reuse_port` other processes
    /// may listen on the address too.
    ///
    /// # Errors
    ///
    /// When it cannot be listened on.
    pub(super) fn listen(&mut self, address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
        let is_it =
            |socket: &StdListener| socket.local_addr().is_ok_and(|found| is_same(found, address));
        let listener = match self.0.iter().position(is_it) {
            Some(place) => {
                let socket = self.0.swap_remove(place);
                socket.set_nonblocking(true)?;
                return Ok(Socket { listener: TcpListener::from_std(socket)?, is_shared: true });
            }
            None => open(address, reuse_port),
        };
        let listener = listener.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        })?;
        Ok(Socket { listener, is_shared: reuse_port })
    }

    /// Nothing is left.
    ///
    /// # Errors
    ///
    /// When a socket is: whoever opened it expects that somebody accepts.
    pub(super) fn end(self) -> io::Result<()> {
        let Some(socket) = self.0.first() else { return Ok(()) };
        let address = socket.local_addr()?;
        let text = format!("LISTEN_FDS holds a socket on {address}, which no listener has");
        Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text))
    }
}

/// Whether a socket on `found` takes the connections of `wanted`. One for all addresses of IPv6 usually takes
/// those of IPv4 too.
fn is_same(found: SocketAddr, wanted: SocketAddr) -> bool {
    let are_all = found.ip().is_unspecified() && wanted.ip().is_unspecified();
    found.port() == wanted.port() && (found.ip() == wanted.ip() || are_all)
}

fn open(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As the listeners of tokio and std do, so that a restart finds its port free.
    socket.set_reuseaddr(true)?;
    if reuse_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_inherited_socket_is_taken_for_its_address_and_none_may_be_left() {
        let socket = StdListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut inherited = Inherited(vec![socket]);
        let other = inherited.listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        assert!(!other.is_shared);
        let taken = inherited.listen(address, false).unwrap();
        assert_eq!(taken.listener.local_addr().unwrap(), address);
        assert!(taken.is_shared);
        inherited.end().unwrap();
        drop(taken);
        let left = Inherited(vec![StdListener::bind(address).unwrap()]).end();
        assert!(left.unwrap_err().to_string().contains(&address.to_string()));
    }

    #[tokio::test]
    async fn two_may_listen_on_one_address_if_both_say_so() {
        let listen = |address, reuse| Inherited::default().listen(address, reuse);
        let first = listen("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = first.listener.local_addr().unwrap();
        assert!(listen(address, true).unwrap().is_shared);
        let refused = listen(address, false).unwrap_err().to_string();
        assert!(refused.contains("cannot listen on"), "{refused}");
    }

    #[test]
    fn a_socket_for_all_addresses_is_the_one_for_all_addresses() {
        for (found, wanted, same) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("[::]:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", false),
        ] {
            assert_eq!(is_same(found.parse().unwrap(), wanted.parse().unwrap()), same, "{found}");
        }
    }
}
