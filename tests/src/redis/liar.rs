//! Answers for a server, in words of the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Stands before a server and puts in words of its own while the test says so. It takes no new
/// connections once it is dropped.
#[derive(Debug)]
pub struct Liar {
    addr: SocketAddr,
    words: Arc<Mutex<Option<&'static [u8]>>>,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends the connection behind what was said.
const CUT: &[u8] = b"(cut)";

impl Liar {
    /// In front of `server`, adding nothing at first.
    ///
    /// # Panics
    /// When no port of loopback can be bound.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let words = Arc::<Mutex<Option<&'static [u8]>>>::default();
        let said = words.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { continue };
                // Otherwise an answer may wait for 40 ms.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let ((from, to), (answers, commands)) = (client.into_split(), server.into_split());
                let to = Arc::new(tokio::sync::Mutex::new(to));
                tokio::spawn(carry(answers, to.clone()));
                tokio::spawn(listen(from, commands, to, said.clone()));
            }
        });
        Self { addr, words, task }
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What is said from now on for every command but those about the connection; with `(cut)` behind
    /// it the connection ends there.
    ///
    /// # Panics
    /// When another user of it has panicked.
    pub fn say(&self, words: Option<&'static [u8]>) {
        *self.words.lock().unwrap() = words;
    }
}

type Client = Arc<tokio::sync::Mutex<OwnedWriteHalf>>;

async fn carry(mut answers: OwnedReadHalf, client: Client) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = answers.read(&mut buffer).await {
        if client.lock().await.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = client.lock().await.shutdown().await;
}

/// Commands about the connection, and what it begins with.
const CONNECTION: [&str; 8] = ["", "AUTH", "CLIENT", "CLUSTER", "HELLO", "INFO", "PING", "SELECT"];

/// Hands commands on; those that read and write pins are answered here while there are words.
async fn listen(
    client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    answers: Client,
    words: Arc<Mutex<Option<&'static [u8]>>>,
) {
    let mut client = BufReader::new(client);
    while let Some((name, command)) = command(&mut client).await {
        let words = *words.lock().unwrap();
        match words.filter(|_| !CONNECTION.contains(&&*name)) {
            Some(words) => {
                let (words, cut) = match words.strip_suffix(CUT) {
                    Some(words) => (words, true),
                    None => (words, false),
                };
                let mut answers = answers.lock().await;
                if answers.write_all(words).await.is_err() || cut {
                    let _ = answers.shutdown().await;
                    return;
                }
            }
            None if server.write_all(&command).await.is_err() => return,
            None => {}
        }
    }
}

/// The next command: its name, and its bytes.
async fn command(client: &mut BufReader<OwnedReadHalf>) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let parts = number(client, &mut bytes).await?;
    if bytes[0] != b'*' {
        // A greeting may come as a line.
        return Some((String::new(), bytes));
    }
    let mut name = String::new();
    for part in 0..parts {
        let length = number(client, &mut bytes).await?;
        let from = bytes.len();
        bytes.resize(from + length + 2, 0);
        client.read_exact(&mut bytes[from..]).await.ok()?;
        if part == 0 {
            name = String::from_utf8_lossy(&bytes[from..from + length]).to_uppercase();
        }
    }
    Some((name, bytes))
}

/// The number at the end of the next line, behind its first byte.
async fn number(client: &mut BufReader<OwnedReadHalf>, bytes: &mut Vec<u8>) -> Option<usize> {
    let from = bytes.len();
    client.read_until(b'\n', bytes).await.ok().filter(|read| *read > 0)?;
    String::from_utf8_lossy(&bytes[from + 1..]).split_whitespace().last()?.parse().ok()
}
