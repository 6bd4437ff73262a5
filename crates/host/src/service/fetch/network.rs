//! How this host reaches the network: its name server and whom it trusts.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use ringfence_api::ErrorCode;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::Error;
use crate::config::NetworkConfig;

/// Where systems keep the authorities that they trust, in one file; the first that exists is taken.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The largest file of certificates that is read, in bytes.
const FILE_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// The settings of one host.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// The name server to ask in the place of those of the system.
    pub(super) resolver: Option<SocketAddr>,
    /// Authorities beside those of the system.
    own: Vec<CertificateDer<'static>>,
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Network {
    /// Takes the settings, and reads the administrator's certificates.
    ///
    /// # Errors
    /// `invalid_config` for a file that cannot be read or holds no certificate that can be an authority.
    pub(crate) fn new(config: &NetworkConfig) -> Result<Self, Error> {
        let own = match &config.ca_file {
            None => Vec::new(),
            Some(path) => {
                let refuse = |why: String| {
                    let message = format!("ca_file = '{}' in [network]: {why}", path.display());
                    Error::new(ErrorCode::InvalidConfig, message)
                        .with_hint("name a file with one or more certificates in PEM form")
                };
                let own = certificates(path).map_err(refuse)?;
                let mut tried = RootCertStore::empty();
                for certificate in &own {
                    tried.add(certificate.clone()).map_err(|error| refuse(error.to_string()))?;
                }
                if own.is_empty() {
                    return Err(refuse("it holds no certificate".to_owned()));
                }
                own
            }
        };
        Ok(Self { resolver: config.resolver, own, tls: OnceLock::new() })
    }

    /// Whom TLS trusts: the system's authorities and the administrator's own, read at the first use. Reads a file.
    ///
    /// # Errors
    /// A sentence, when there is nobody to trust.
    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(made) = self.tls.get() {
            return Ok(Arc::clone(made));
        }
        let mut roots = RootCertStore::empty();
        if let Some(system) = SYSTEM_FILES.iter().map(Path::new).find(|path| path.exists()) {
            let (added, skipped) = roots.add_parsable_certificates(certificates(system)?);
            tracing::debug!(file = %system.display(), added, skipped, "read the system's certificates");
        }
        roots.add_parsable_certificates(self.own.iter().cloned());
        if roots.is_empty() {
            return Err(
                "no certificate authority is known; install ca-certificates, or set ca_file in [network]"
                    .to_owned(),
            );
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(format!("it has more than {FILE_MAX_BYTES} bytes"));
    }
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it is not in PEM form: {error:?}"))
}
