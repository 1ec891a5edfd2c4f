//! TLS to Redis.
//!
//! The provider is `ring`, the one that the whole program uses
//! (`docs/decisions/0030-one-tls-provider.md`). Host names are checked as usual, and there is no way
//! to switch that off.

use std::fmt::Display;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::errors::RedisConfigError;
use super::unready::Unready;

/// Whom a client trusts, and how it shows who it is.
#[derive(Clone)]
pub(super) struct Tls {
    roots: Arc<RootCertStore>,
    identity: Option<Arc<Identity>>,
    connector: TlsConnector,
}

/// A client's certificates, its own first, and its key.
struct Identity {
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Tls {
    /// Trusts what the system trusts.
    pub(super) fn system() -> Result<Self, RedisConfigError> {
        let found = rustls_native_certs::load_native_certs().certs;
        let mut roots = RootCertStore::empty();
        // A system's store may hold a certificate that is out of use; the others count.
        roots.add_parsable_certificates(found);
        Self::new(Arc::new(roots), None)
    }

    /// Trusts the authorities in `pem` alone.
    pub(super) fn trusting(&self, pem: &[u8]) -> Result<Self, RedisConfigError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, "the certificate authority")? {
            roots.add(certificate).map_err(|error| wrong("the certificate authority", &error))?;
        }
        Self::new(Arc::new(roots), self.identity.clone())
    }

    /// Shows the first certificate in `pem` to a server that asks for one, and proves it by `key`.
    pub(super) fn showing(&self, pem: &[u8], key: &[u8]) -> Result<Self, RedisConfigError> {
        let certificates = certificates(pem, "the client certificate")?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong("the client key", &error))?;
        Self::new(self.roots.clone(), Some(Arc::new(Identity { certificates, key })))
    }

    fn new(
        roots: Arc<RootCertStore>,
        identity: Option<Arc<Identity>>,
    ) -> Result<Self, RedisConfigError> {
        // The provider is explicit, because rustls panics if two are in the tree and none is chosen.
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| RedisConfigError(format!("TLS cannot be used: {error}")))?
            .with_root_certificates(roots.clone());
        let config = match identity.as_deref() {
            None => config.with_no_client_auth(),
            Some(Identity { certificates, key }) => config
                .with_client_auth_cert(certificates.clone(), key.clone_key())
                .map_err(|error| wrong("the client certificate", &error))?,
        };
        Ok(Self { roots, identity, connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Agrees on TLS with `host`, a name or an address.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Unready> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Unready::UnknownHost)?;
        Ok(self.connector.connect(name, stream).await?)
    }
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, RedisConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| wrong(what, &error))?;
    if found.is_empty() { Err(wrong(what, &"it contains no certificate")) } else { Ok(found) }
}

fn wrong(what: &str, why: &dyn Display) -> RedisConfigError {
    RedisConfigError(format!("{what} cannot be used: {why}"))
}
