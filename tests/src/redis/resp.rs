//! A small RESP2 client, so that the harness does not rest on the client under test.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// An integer.
    Integer(i64),
    /// A simple string, as `OK`.
    Status(String),
    /// A bulk string.
    Bulk(Vec<u8>),
    /// An array.
    Array(Vec<Reply>),
    /// An error inside an array; an error alone is a [`CommandError::Refused`].
    Error(String),
}

impl Reply {
    /// The text of a simple or a bulk string, `None` for anything else and for bytes that are not
    /// UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Status(text) => Some(text),
            Self::Bulk(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The bytes of a bulk string, `None` for anything else.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether one line of the text, as `INFO` gives it, is `line`.
    #[must_use]
    pub fn has_line(&self, line: &str) -> bool {
        self.text().is_some_and(|text| text.lines().any(|own| own == line))
    }

    /// The integer, `None` for anything else.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements, none for anything but an array.
    #[must_use]
    pub fn items(&self) -> &[Reply] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }
}

/// Why a command has no reply.
#[derive(Debug)]
pub enum CommandError {
    /// The server refused it, with this error text.
    Refused(String),
    /// No whole reply within this time.
    TimedOut(Duration),
    /// No connection, or it broke, or the reply was no RESP2.
    Io(io::Error),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) => write!(f, "refused: {text}"),
            Self::TimedOut(limit) => write!(f, "no reply within {limit:?}"),
            Self::Io(error) => write!(f, "no reply: {error}"),
        }
    }
}

impl std::error::Error for CommandError {}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A connection to a server's Unix socket.
pub(crate) struct Connection(BufReader<UnixStream>);

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Sends one command and reads its reply.
    pub(crate) async fn call(&mut self, args: &[&[u8]]) -> Result<Reply, CommandError> {
        self.0.write_all(&encode(args)).await?;
        match self.read().await? {
            Reply::Error(text) => Err(CommandError::Refused(text)),
            reply => Ok(reply),
        }
    }

    async fn read(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| not_resp(line))?;
        match kind {
            "+" => Ok(Reply::Status(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Integer(rest.parse().map_err(|_| not_resp(line))?)),
            "$" | "*" if rest == "-1" => Ok(Reply::Nil),
            "$" => self.read_bulk(rest.parse().map_err(|_| not_resp(line))?).await,
            "*" => {
                let count: usize = rest.parse().map_err(|_| not_resp(line))?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(Box::pin(self.read()).await?);
                }
                Ok(Reply::Array(items))
            }
            _ => Err(not_resp(line)),
        }
    }

    async fn read_bulk(&mut self, len: usize) -> io::Result<Reply> {
        let mut bytes = vec![0; len + 2];
        self.0.read_exact(&mut bytes).await?;
        bytes.truncate(len);
        Ok(Reply::Bulk(bytes))
    }
}

fn encode(args: &[&[u8]]) -> Vec<u8> {
    let mut frame = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        frame.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        frame.extend_from_slice(arg);
        frame.extend_from_slice(b"\r\n");
    }
    frame
}

fn not_resp(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not RESP2: {line:?}"))
}
