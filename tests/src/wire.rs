//! HTTP/1.1 on a socket, as far as these tests need it, and nothing hidden.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::within;

/// One side of a connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

/// The first line of a message and its header fields, in their order, names in lower case.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The request line or the status line.
    pub line: String,
    /// Every field, repeated ones too.
    pub fields: Vec<(String, String)>,
}

/// A part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, of one chunk at most.
    Data(Bytes),
    /// The end that the framing foresees.
    End,
    /// The connection ended before that.
    Cut,
}

/// How a body ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// All values of the field `name`.
#[must_use]
pub fn field<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect()
}

impl Wire {
    /// Over an open connection.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self { stream, buffer: BytesMut::new() }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// When the other side is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(self.stream.write_all(bytes)).await
    }

    /// Ends the connection without a goodbye: the other side gets a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("linger");
    }

    /// The next message's head; `None` when the connection ended.
    pub async fn head(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let head = self.buffer.split_to(end + 4);
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':').expect("a colon in a header field");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Some(Head { line, fields: fields.collect() })
    }

    /// The next part of a body with this framing.
    pub(crate) async fn piece(&mut self, framing: &mut Framing) -> Piece {
        let next = match framing {
            Framing::Length(0) => return Piece::End,
            Framing::Length(_) | Framing::UntilClose => self.some().await,
            Framing::Chunked => self.chunk().await,
        };
        match (next, &mut *framing) {
            (Some(data), Framing::Length(left)) => {
                let mut data = data;
                if data.len() > *left {
                    let rest = data.split_off(*left);
                    self.buffer = BytesMut::from(&*rest);
                }
                *left -= data.len();
                Piece::Data(data)
            }
            (Some(data), Framing::Chunked) if data.is_empty() => Piece::End,
            (Some(data), _) => Piece::Data(data),
            (None, Framing::UntilClose) => Piece::End,
            (None, _) => Piece::Cut,
        }
    }

    /// The body behind a head, and whether it ended as its framing foresees.
    pub async fn rest_of(&mut self, head: &Head) -> (Vec<u8>, bool) {
        self.rest(&mut head.framing().unwrap_or(Framing::UntilClose)).await
    }

    /// The rest of a body, and whether it ended as its framing foresees.
    pub(crate) async fn rest(&mut self, framing: &mut Framing) -> (Vec<u8>, bool) {
        let mut whole = Vec::new();
        loop {
            match self.piece(framing).await {
                Piece::Data(data) => whole.extend_from_slice(&data),
                end => return (whole, end == Piece::End),
            }
        }
    }

    /// Bytes that are there, else the next that arrive.
    async fn some(&mut self) -> Option<Bytes> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Some(self.buffer.split().freeze())
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        let size = loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.split_to(at + 2);
                let line = String::from_utf8_lossy(&line);
                let size = line.trim().split(';').next().unwrap_or_default();
                break usize::from_str_radix(size, 16).expect("the size of a chunk");
            }
            self.fill().await?;
        };
        while self.buffer.len() < size + 2 {
            self.fill().await?;
        }
        let data = self.buffer.split_to(size).freeze();
        assert_eq!(&*self.buffer.split_to(2), b"\r\n", "the end of a chunk");
        Some(data)
    }

    /// Reads more; `None` when the connection ended, in whatever way.
    async fn fill(&mut self) -> Option<()> {
        match within(self.stream.read_buf(&mut self.buffer)).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

impl Head {
    /// All values of the field `name`.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        field(&self.fields, name)
    }

    /// How the body after this head ends; `None` for a request without one.
    pub(crate) fn framing(&self) -> Option<Framing> {
        let chunked = self.all("transfer-encoding").iter().any(|value| value.contains("chunked"));
        if chunked {
            return Some(Framing::Chunked);
        }
        let length = self.all("content-length").first().map(|length| length.parse());
        length.map(|length| Framing::Length(length.expect("a content-length")))
    }
}
