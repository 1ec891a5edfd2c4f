//! What is said to a server before the client library takes over: the login, and with Sentinel the
//! questions which server is the primary and whether it is one.
//!
//! The library greets by a line and does not quote what it puts there. Here user and password are
//! sent with their lengths, so that they may hold any byte. It greets again, without them; a server
//! takes that for what it is already.

use bytes::BytesMut;
use fred::error::{Error, ErrorKind};
use fred::types::config::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::options::Credentials;
use super::super::unready::Unready;
use super::reply::ReplyScanner;
use super::stream::ServerStream;

/// Logs in, chooses RESP3 and names the connection.
pub(super) struct Greeting<'a> {
    pub(super) credentials: &'a Credentials,
    /// What `CLIENT LIST` shows.
    pub(super) name: &'a str,
}

impl Greeting<'_> {
    /// # Errors
    ///
    /// What the server refuses, such as the password.
    pub(super) async fn exchange(&self, stream: &mut ServerStream) -> Result<(), Unready> {
        let mut words: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some(password) = &self.credentials.password {
            let user = self.credentials.user.as_deref().unwrap_or(b"default");
            words.extend([b"AUTH", user, password]);
        }
        if !self.name.is_empty() {
            words.extend([b"SETNAME", self.name.as_bytes()]);
        }
        ask(stream, &words).await.map(drop)
    }
}

/// The address of the primary of `service`, as a sentinel knows it.
pub(super) async fn sentinel_primary(
    stream: &mut ServerStream,
    service: &str,
) -> Result<Server, Unready> {
    let words: [&[u8]; 3] = [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.as_bytes()];
    let reply = ask(stream, &words).await?;
    let primary = || {
        let mut texts = texts(&reply);
        let (host, port) = (texts.next()?, texts.next()?.parse().ok()?);
        Some(Server::new(host.to_owned(), port))
    };
    // One that does not know the service names none.
    primary().ok_or(Unready::Unreachable)
}

/// Whether the server is a primary.
///
/// # Errors
///
/// [`Unready::ReadOnly`] when it is a replica.
pub(super) async fn role(stream: &mut ServerStream) -> Result<(), Unready> {
    let reply = ask(stream, &[b"ROLE"]).await?;
    if texts(&reply).next() == Some("master") { Ok(()) } else { Err(Unready::ReadOnly) }
}

/// Sends one command and reads the reply, which is no error.
async fn ask(stream: &mut ServerStream, words: &[&[u8]]) -> Result<BytesMut, Unready> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        command.extend_from_slice(word);
        command.extend_from_slice(b"\r\n");
    }
    stream.write_all(&command).await?;
    stream.flush().await?;
    let (mut scanner, mut bytes) = (ReplyScanner::default(), BytesMut::new());
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(Unready::Unreachable);
        }
        if let Some(length) = scanner.whole(&bytes).map_err(|_| Unready::InvalidReply)? {
            // Nothing is under way that could answer anything else.
            bytes.truncate(length);
            break;
        }
    }
    match bytes.strip_prefix(b"-") {
        None => Ok(bytes),
        Some(error) => {
            let text = String::from_utf8_lossy(error).trim_end().to_owned();
            Err(Unready::of(&Error::new(ErrorKind::Unknown, text)))
        }
    }
}

/// The texts in a flat array of strings, as far as they are text of one line.
fn texts(reply: &[u8]) -> impl Iterator<Item = &str> {
    let lines = reply.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines
        .filter(|line| !line.starts_with(b"*") && !line.starts_with(b"$"))
        .filter_map(|line| std::str::from_utf8(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered<T>(
        reply: &'static [u8],
        ask: impl AsyncFnOnce(&mut ServerStream) -> T,
    ) -> (T, Vec<u8>) {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(reply).await.unwrap();
        let answer = ask(&mut (Box::new(ours) as ServerStream)).await;
        let mut said = Vec::new();
        theirs.read_to_end(&mut said).await.unwrap();
        (answer, said)
    }

    #[tokio::test]
    async fn user_and_password_are_sent_with_their_lengths() {
        let credentials =
            Credentials { user: Some(b"a b".to_vec()), password: Some(b"\"\r\n\xff".to_vec()) };
        let greeting = Greeting { credentials: &credentials, name: "me" };
        let (greeted, said) = answered(b"%1\r\n$5\r\nproto\r\n:3\r\n", async |stream| {
            greeting.exchange(stream).await
        })
        .await;
        assert_eq!(greeted, Ok(()));
        let expected: &[u8] = b"*7\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$3\r\na b\r\n\
            $4\r\n\"\r\n\xff\r\n$7\r\nSETNAME\r\n$2\r\nme\r\n";
        assert_eq!(said, expected);
    }

    #[tokio::test]
    async fn what_is_refused_has_its_cause() {
        let credentials = Credentials::default();
        let greeting = Greeting { credentials: &credentials, name: "" };
        for (reply, cause) in [
            (b"-WRONGPASS invalid username-password pair\r\n".as_slice(), Unready::WrongPassword),
            (b"-NOAUTH HELLO must be called with ...\r\n", Unready::WrongPassword),
            (b"-ERR unknown command 'HELLO'\r\n", Unready::TooOld(None)),
            (b"*2000000000\r\n", Unready::InvalidReply),
            (b"HTTP/1.1 400 Bad Request\r\n", Unready::InvalidReply),
        ] {
            let (greeted, _) =
                answered(reply, async |stream| greeting.exchange(stream).await).await;
            assert_eq!(greeted, Err(cause));
        }
    }

    #[tokio::test]
    async fn a_sentinel_names_the_primary_and_a_replica_is_none() {
        let ask = async |stream: &mut ServerStream| sentinel_primary(stream, "mymaster").await;
        let (primary, _) = answered(b"*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6380\r\n", ask).await;
        assert_eq!(primary, Ok(Server::new("127.0.0.1", 6380)));
        let (unknown, _) = answered(b"_\r\n", ask).await;
        assert_eq!(unknown, Err(Unready::Unreachable));
        let is_primary = async |stream: &mut ServerStream| role(stream).await;
        let (primary, _) = answered(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", is_primary).await;
        assert_eq!(primary, Ok(()));
        let (replica, _) = answered(b"*3\r\n$5\r\nslave\r\n:0\r\n*0\r\n", is_primary).await;
        assert_eq!(replica, Err(Unready::ReadOnly));
    }
}
