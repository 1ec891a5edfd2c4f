//! One HTTP/1.1 connection of the load generator. It knows just enough of HTTP to cost little: a
//! library here would take processor time from what is measured.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::stand_in::now;

/// A connection with the request that it sends again and again.
pub(super) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

/// What a stream of events was like, in microseconds.
#[derive(Default)]
pub(super) struct Streamed {
    /// From the request to the first event.
    pub(super) first: f64,
    /// The events.
    pub(super) events: Vec<Event>,
}

/// One event of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Event {
    /// When it was read, on the wall clock in nanoseconds.
    pub(super) arrived: u64,
    /// From when it was made until it was read, in microseconds.
    pub(super) delay: f64,
}

/// What is sent: path, further header lines, body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) path: &'a str,
    pub(super) accept: &'a str,
    pub(super) body: &'a str,
}

impl Connection {
    /// Connects for one session.
    pub(super) async fn open(
        address: SocketAddr,
        message: Message<'_>,
        session: &str,
    ) -> io::Result<Self> {
        let Message { path, accept, body } = message;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\n\
             content-type: application/json\r\nuser-agent: affinity-bench\r\n\
             authorization: Bearer sk-0123456789abcdef\r\nx-model-affinity: {session}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        Self::of(address, [head.as_bytes(), body.as_bytes()].concat()).await
    }

    /// Connects to send `request`, head and body.
    pub(super) async fn of(address: SocketAddr, request: Vec<u8>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request, buffer: Vec::with_capacity(64 << 10) })
    }

    /// One request and its whole answer, which must be of declared length; says whether it was 2xx.
    pub(super) async fn exchange(&mut self) -> io::Result<bool> {
        self.stream.write_all(&self.request).await?;
        let head = self.head().await?;
        let length = content_length(&self.buffer[..head]).ok_or(io::ErrorKind::InvalidData)?;
        while self.buffer.len() < head + length {
            self.fill().await?;
        }
        Ok(self.buffer.starts_with(b"HTTP/1.1 2"))
    }

    /// One request and its answer of events, up to the end of the stream.
    pub(super) async fn stream(&mut self) -> io::Result<Streamed> {
        let started = Instant::now();
        self.stream.write_all(&self.request).await?;
        let mut at = self.head().await?;
        let mut streamed = Streamed::default();
        loop {
            let arrived = now();
            while let Some((made, end)) = stamp(&self.buffer, at) {
                if streamed.events.is_empty() {
                    streamed.first = micros(started.elapsed());
                }
                let delay = arrived.saturating_sub(made) as f64 / 1e3;
                streamed.events.push(Event { arrived, delay });
                at = end;
            }
            if self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                return Ok(streamed);
            }
            self.fill().await?;
        }
    }

    /// Reads up to the end of the head and gives its length.
    async fn head(&mut self) -> io::Result<usize> {
        self.buffer.clear();
        loop {
            self.fill().await?;
            let end = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                return Ok(end + 4);
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

pub(super) fn micros(span: std::time::Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}

/// The next time of an event at or after `from`, and where it ends.
fn stamp(buffer: &[u8], from: usize) -> Option<(u64, usize)> {
    const MARK: &[u8] = b"{\"t\":";
    let start = from + buffer.get(from..)?.windows(MARK.len()).position(|bytes| bytes == MARK)?;
    let digits = &buffer[start + MARK.len()..];
    let len = digits.iter().position(|byte| *byte == b',')?;
    let made = std::str::from_utf8(&digits[..len]).ok()?.parse().ok()?;
    Some((made, start + MARK.len() + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_knows_of_http() {
        let head = b"HTTP/1.1 200 OK\r\nx-content-length: 1\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(content_length(head), Some(12));
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\n\r\n"), None);
    }

    #[test]
    fn events_are_found_in_pieces() {
        let text = b"a3\r\ndata: {\"t\":17,\"id\"}\n\n\r\na3\r\ndata: {\"t\":18";
        let (made, end) = stamp(text, 0).unwrap();
        assert_eq!(made, 17);
        assert_eq!(stamp(text, end), None, "the second one may go on");
    }
}
