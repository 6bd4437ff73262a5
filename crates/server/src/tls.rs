//! Certificates and keys, read for the server's side of TLS.

use std::sync::Arc;

use ringfence::Error;
use ringfence_api::ErrorCode;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::listen::TlsFiles;

/// # Errors
/// `invalid_config` for files that cannot be read or do not belong together. A key is never told.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, Error> {
    let broken = |what: &str, path: &std::path::Path, why: String| {
        Error::new(ErrorCode::InvalidConfig, format!("{} cannot be used as {what}: {why}", path.display()))
            .with_hint("both files are PEM; the certificate of the server comes first in its chain")
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| broken("a certificate", &files.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| broken("a private key", &files.key, error.to_string()))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken("a certificate", &files.certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| broken("a certificate with its key", &files.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
