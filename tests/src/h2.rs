//! HTTP/2 as frames, those included that a library would not send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::within;

/// Kinds of frames.
pub mod kind {
    /// Of a body.
    pub const DATA: u8 = 0;
    /// Of a head.
    pub const HEADERS: u8 = 1;
    /// The end of a stream before its time.
    pub const RST_STREAM: u8 = 3;
    /// Of the connection.
    pub const SETTINGS: u8 = 4;
    /// A question whether the other side lives.
    pub const PING: u8 = 6;
    /// The end of the connection.
    pub const GOAWAY: u8 = 7;
    /// Leave to send more.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a head.
    pub const CONTINUATION: u8 = 9;
}

/// No more frames of this body or answer follow.
pub const END_STREAM: u8 = 1;
/// No more frames of this head follow.
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// How the server took what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An answer with this status.
    Status(u16),
    /// The end of the stream, with this code.
    Reset(u32),
    /// The end of the connection, with this code.
    GoAway(u32),
    /// The end of the connection, without a word.
    Closed,
}

/// A connection of frames.
#[derive(Debug)]
pub struct Frames(TcpStream);

impl Frames {
    /// Connects, with the preface and empty settings.
    pub async fn open(address: SocketAddr) -> Self {
        let mut stream = within(TcpStream::connect(address)).await.expect("a connection");
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        stream.write_all(preface).await.expect("the preface is taken");
        Self(stream)
    }

    /// Sends frames that are written already; whether the server still takes them.
    pub async fn send(&mut self, frames: &[u8]) -> bool {
        within(self.0.write_all(frames)).await.is_ok()
    }

    /// The next frame: its head and its payload; `None` when the connection has ended.
    async fn next(&mut self) -> Option<([u8; 9], Vec<u8>)> {
        let mut head = [0; 9];
        within(self.0.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        within(self.0.read_exact(&mut payload)).await.ok()?;
        Some((head, payload))
    }

    /// The next part of a body; `None` when it has ended.
    pub async fn data(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.next().await? {
                (head, payload) if head[3] == kind::DATA && !payload.is_empty() => {
                    return Some(payload);
                }
                (head, _) if head[3] == kind::DATA && head[4] & END_STREAM > 0 => return None,
                (head, _) if head[3] == kind::RST_STREAM => panic!("the stream was reset"),
                _ => {}
            }
        }
    }

    /// What comes of what was sent: the first answer, reset or end.
    pub async fn reply(&mut self) -> Reply {
        loop {
            let Some((head, payload)) = self.next().await else { return Reply::Closed };
            let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("4"));
            match (head[3], head[4] & ACK) {
                (kind::HEADERS, _) => return Reply::Status(status(&payload)),
                (kind::RST_STREAM, _) => return Reply::Reset(code(0)),
                (kind::GOAWAY, _) => return Reply::GoAway(code(4)),
                (kind::SETTINGS, 0) => drop(self.send(&frame(kind::SETTINGS, ACK, 0, &[])).await),
                (kind::PING, 0) => drop(self.send(&frame(kind::PING, ACK, 0, &payload)).await),
                _ => {}
            }
        }
    }

    /// How the server took it in the end: the end of the connection, else the last reply.
    pub async fn end(&mut self) -> Reply {
        let mut last = Reply::Closed;
        loop {
            match self.reply().await {
                Reply::Closed => return last,
                Reply::GoAway(code) if code > 0 => return Reply::GoAway(code),
                reply => last = reply,
            }
        }
    }
}

/// A frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let stream = stream.to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream].concat();
    [&head, payload].concat()
}

/// A head in HPACK, each field in full.
#[must_use]
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A number after a prefix of 7 bits.
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).expect("below 127"));
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128 + 128).expect("below 256"));
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("below 128"));
}

/// The status that a head in HPACK begins with.
fn status(block: &[u8]) -> u16 {
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        _ => {
            let bytes = &block[2..2 + usize::from(block[1] & 0x7f)];
            let text = if block[1] & 0x80 == 0 { bytes.to_vec() } else { digits(bytes) };
            String::from_utf8(text).expect("a status").parse().expect("a status")
        }
    }
}

/// Three digits in the Huffman code of HPACK.
fn digits(bytes: &[u8]) -> Vec<u8> {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut take = |count: usize| bits.by_ref().take(count).fold(0, |code, bit| code << 1 | bit);
    let digit = |_| match take(5) {
        code @ 0..=2 => b'0' + code,
        code => b'0' + (code << 1 | take(1)) - 22,
    };
    (0..3).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_each_of_its_forms() {
        assert_eq!(status(&[0x88]), 200);
        assert_eq!(status(b"\x48\x03431"), 431);
        // 431 and 502 as RFC 7541 codes them.
        assert_eq!(status(&[0x48, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111]), 431);
        assert_eq!(status(&[0x48, 0x82, 0b0110_1100, 0b0000_0010]), 502);
    }
}
