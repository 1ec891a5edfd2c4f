//! The certificate and key of a listener.
//!
//! They are loaded with the file, so that a pair that cannot be used is an error of the file, at its place,
//! and a reload reads them again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::at::At;

/// What is offered, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A listener's identity, ready for use.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

impl Tls {
    /// What shakes hands with clients.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.0.clone().into()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The section `tls`.
pub(super) fn read(at: &At<'_>) -> Option<Tls> {
    let file = |key| {
        let at = at.require(key)?;
        let path = PathBuf::from(at.text()?);
        Some((at, path))
    };
    let (cert, key) = (file("cert"), file("key"));
    if let (Some((_, cert)), Some((_, key))) = (&cert, &key)
        && PrivateKeyDer::from_pem_file(cert).is_ok()
        && certificates(cert).is_err()
        && certificates(key).is_ok()
    {
        at.error("cert names the key, and key the certificate");
        return None;
    }
    let certificates = cert.and_then(|(at, path)| {
        let found = certificates(&path);
        found.map_err(|why| at.error(unusable(&why, "certificate"))).ok()
    });
    let key = key.and_then(|(at, path)| {
        let found = PrivateKeyDer::from_pem_file(&path);
        found.map_err(|why| at.error(unusable(&why, "private key"))).ok()
    });
    let server = server(certificates?, key?);
    let told = |why| match why {
        rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
        why => format!("cannot be used: {why}"),
    };
    server.map_err(|why| at.error(told(why))).ok()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() { Err(Error::NoItemsFound) } else { Ok(found) }
}

fn unusable(why: &Error, what: &str) -> String {
    match why {
        Error::Io(why) => format!("cannot be read: {why}"),
        Error::NoItemsFound => format!("holds no {what} in PEM form"),
        _ => "is not PEM".to_owned(),
    }
}

fn server(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Tls, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Tls(Arc::new(server)))
}
