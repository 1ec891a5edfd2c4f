//! A server with TLS: only a client that trusts its authority gets through.

use std::io;
use std::sync::Arc;

use affinity_tests::redis::{RedisServer, tls::Authority};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

async fn ping(
    server: &RedisServer,
    name: &'static str,
    trusted: &[&Authority],
) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    for authority in trusted {
        let pem = authority.pem();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.addr()).await?;
    let name = ServerName::try_from(name).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn only_a_client_that_trusts_the_authority_gets_through() {
    let authority = Authority::new();
    let server = RedisServer::builder().tls(&authority).start().await;
    assert!(server.url().starts_with("rediss://127.0.0.1:"));

    assert_eq!(ping(&server, "127.0.0.1", &[&authority]).await.unwrap(), "+PONG\r\n");
    assert_eq!(ping(&server, "localhost", &[&authority]).await.unwrap(), "+PONG\r\n");

    let stranger = Authority::new();
    for (name, trusted) in
        [("127.0.0.1", [].as_slice()), ("127.0.0.1", &[&stranger]), ("example.com", &[&authority])]
    {
        let error = ping(&server, name, trusted).await.unwrap_err();
        assert!(error.to_string().contains("invalid peer certificate"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_client_without_tls_gets_no_answer() {
    let server = RedisServer::builder().tls(&Authority::new()).start().await;
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(!answer.contains("PONG"), "{answer}");
    assert_eq!(
        server.run(&["PING"]).await.text(),
        Some("PONG"),
        "the harness itself still gets in"
    );
}
