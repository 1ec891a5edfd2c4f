//! A connection of which the first bytes were read.
//!
//! A proxy that passes bytes on, and knows nothing of HTTP, can only name its client before the client's
//! first byte, by a header of the PROXY protocol (version 1 is a line of text, version 2 is binary):
//!
//! 1. Only a trusted proxy is asked for a header. From any other peer it is HTTP, which it is not: 400.
//! 2. A trusted proxy may leave it out, as health checks do.
//! 3. A header that names no client, such as that of a proxy's own health check, leaves the proxy's address.
//! 4. A header has 107 bytes at most in version 1 (its specification says so), and 4096 in version 2. What
//!    begins like one and is none ends the connection: whoever wrote it, the rest is not sure to be a request.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How a header begins, and the most bytes that it may have, by version. In version 2 the addresses take
/// 232 of them at most; the rest is for what else a proxy tells, such as the name in a client's certificate.
const VERSIONS: [(&[u8], usize); 2] = [(b"PROXY ", 107), (b"\r\n\r\n\0\r\nQUIT\n", 4096)];

/// What is read at once before HTTP reads.
const PIECE: usize = 512;

/// A stream whose first bytes were read, and are read again first.
#[derive(Debug)]
pub(super) struct Begun<S> {
    stream: S,
    unread: BytesMut,
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
enum Header {
    /// Those of a request.
    Absent,
    /// Too few to tell, or to be whole.
    Cut,
    /// What begins like a header and is none.
    Broken,
    /// The header of a proxy for its client, if it names one.
    Whole { client: Option<SocketAddr>, length: usize },
}

impl<S> Begun<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, unread: BytesMut::new() }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Takes out the header that a proxy put before the bytes of its client, if there is one, and returns
    /// the address of the client that it names.
    ///
    /// # Errors
    ///
    /// When the header is broken, too long, or the stream ends in it.
    pub(super) async fn client(&mut self) -> io::Result<Option<SocketAddr>> {
        loop {
            match Header::read(&self.unread) {
                Header::Absent => return Ok(None),
                Header::Whole { client, length } => {
                    self.unread.advance(length);
                    return Ok(client);
                }
                Header::Broken => return Err(io::ErrorKind::InvalidData.into()),
                Header::Cut if !self.read_on().await? => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Header::Cut => {}
            }
        }
    }

    /// The first bytes, at least `length` of them unless the stream ends before.
    pub(super) async fn first(&mut self, length: usize) -> io::Result<&[u8]> {
        while self.unread.len() < length && self.read_on().await? {}
        Ok(&self.unread)
    }

    /// Reads some more; whether there was more.
    async fn read_on(&mut self) -> io::Result<bool> {
        self.unread.reserve(PIECE);
        Ok(self.stream.read_buf(&mut self.unread).await? > 0)
    }
}

impl Header {
    fn read(bytes: &[u8]) -> Self {
        let Some((_, most)) = VERSIONS.iter().find(|(begin, _)| bytes.starts_with(begin)) else {
            let may_become = VERSIONS.iter().any(|(begin, _)| begin.starts_with(bytes));
            return if may_become { Self::Cut } else { Self::Absent };
        };
        let bytes = bytes.get(..*most).unwrap_or(bytes);
        match ProxyHeader::parse(bytes, ParseConfig { include_tlvs: false, ..Default::default() }) {
            Ok((header, length)) => {
                let client = header.proxied_address().map(|addresses| addresses.source);
                Self::Whole { client, length }
            }
            Err(Error::BufferTooShort) if bytes.len() < *most => Self::Cut,
            Err(_) => Self::Broken,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread.split_to(length));
        if self.unread.is_empty() {
            // What it held is free.
            self.unread = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [VERSIONS[1].0, &[command, family], &length, rest].concat()
    }

    /// The client that `sent` names, and what is left of it, however it is cut.
    async fn client(sent: &[u8]) -> io::Result<(Option<SocketAddr>, Vec<u8>)> {
        let mut whole = None;
        for pieces in [1, 7, sent.len().max(1)] {
            let mut stream = in_pieces(sent, pieces);
            let found = stream.client().await;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await?;
            let found = found.map(|client| (client, rest)).map_err(|error| error.kind());
            assert!(whole.as_ref().is_none_or(|whole| *whole == found), "{whole:?} {found:?}");
            whole = Some(found);
        }
        whole.unwrap().map_err(Into::into)
    }

    fn in_pieces(sent: &[u8], piece: usize) -> Begun<impl AsyncRead + Unpin> {
        let (mut near, far) = tokio::io::duplex(piece);
        let sent = sent.to_vec();
        tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut near, &sent).await });
        Begun::new(far)
    }

    const REST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    #[tokio::test]
    async fn a_header_names_the_client_and_is_taken_out() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x10, 0, 0, 80];
        let mut six = [0; 36];
        (six[0], six[15], six[33]) = (0x20, 1, 7);
        let with_more = [&four[..], &[4, 0, 2, 0, 0]].concat();
        for (header, named) in [
            (&b"PROXY TCP4 192.0.2.1 10.0.0.1 4096 80\r\n"[..], Some("192.0.2.1:4096")),
            (b"PROXY TCP6 2001:db8::1 ::1 4096 80\r\n", Some("[2001:db8::1]:4096")),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN 192.0.2.1 10.0.0.1 4096 80\r\n", None),
            (&binary(0x21, 0x11, &four), Some("192.0.2.1:4096")),
            (&binary(0x21, 0x11, &with_more), Some("192.0.2.1:4096")),
            (&binary(0x21, 0x21, &six), Some("[2000::1]:7")),
            (&binary(0x20, 0x11, &four), None),
            (&binary(0x20, 0x00, &[]), None),
            (&binary(0x21, 0x00, &[1, 2, 3]), None),
            (&binary(0x21, 0x31, &[b'/'; 216]), None),
        ] {
            let sent = [header, REST].concat();
            let named = named.map(|named| named.parse().unwrap());
            let taken = client(&sent).await.unwrap();
            assert_eq!(taken, (named, REST.to_vec()), "{}", header.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_request_without_a_header_is_left_whole() {
        for sent in [
            REST,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PROPFIND / HTTP/1.1\r\n\r\n",
            b"PROXYING / HTTP/1.1\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
        ] {
            assert_eq!(client(sent).await.unwrap(), (None, sent.to_vec()));
        }
    }

    #[tokio::test]
    async fn what_begins_like_a_header_and_is_none_is_an_error() {
        let long_line = format!("PROXY TCP4 {} 10.0.0.1 1 2\r\n", "1".repeat(200));
        let many = vec![0; VERSIONS[1].1];
        for sent in [
            &b"PROXY TCP4 192.0.2.1\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.1 10.0.0.1 4096 80\n        ",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n",
            b"PROXY TCP4 2001:db8::1 ::1 4096 80\r\n",
            b"PROXY TCP5 192.0.2.1 10.0.0.1 4096 80\r\n",
            b"PROXY / HTTP/1.1\r\nhost: a\r\n\r\n",
            long_line.as_bytes(),
            &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
            &binary(0x11, 0x11, &[0; 12]),
            &binary(0x22, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 11]),
            &binary(0x21, 0x21, &[0; 35]),
            &binary(0x21, 0x41, &[0; 36]),
            &binary(0x21, 0x11, &many),
        ] {
            let kind = client(&[sent, REST].concat()).await.unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::InvalidData, "{}", sent.escape_ascii());
        }
        for cut in [&b""[..], b"PRO", b"PROXY TCP4 192.0", &binary(0x21, 0x11, &[0; 12])[..20]] {
            let kind = client(cut).await.unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::UnexpectedEof, "{}", cut.escape_ascii());
        }
    }
}
