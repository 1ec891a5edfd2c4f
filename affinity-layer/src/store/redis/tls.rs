//! TLS to Redis.
//!
//! The provider is `ring`, the one that the whole program uses
//! (`docs/decisions/0030-one-tls-provider.md`). Host names are checked as usual. There is no way to
//! switch that off, and client certificates are not supported.

use std::sync::Arc;

use fred::types::config::{TlsConfig, TlsConnector};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::errors::RedisConfigError;

/// Trusts what the system trusts.
pub(super) fn system() -> Result<TlsConfig, RedisConfigError> {
    let found = rustls_native_certs::load_native_certs().certs;
    let mut roots = RootCertStore::empty();
    // A system's store may hold a certificate that is out of use; the others count.
    roots.add_parsable_certificates(found);
    connector(roots)
}

/// Trusts the authorities in `pem` alone.
pub(super) fn private(pem: &[u8]) -> Result<TlsConfig, RedisConfigError> {
    let wrong = |why: &dyn std::fmt::Display| {
        RedisConfigError(format!("the certificate authority cannot be used: {why}"))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"it contains no certificate"));
    }
    connector(roots)
}

/// A client's settings with these roots.
fn connector(roots: RootCertStore) -> Result<TlsConfig, RedisConfigError> {
    // The provider is explicit, because rustls panics if two are in the tree and none is chosen.
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| RedisConfigError(format!("TLS cannot be used: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(config).into())
}
