//! Encryption of connections: the certificate and its key, from files, read again when they change.
//!
//! A pair that cannot be used is refused at the start; later the one before stays in use, and the log says so. Connections that
//! are open keep the certificate that they began with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto};
use tokio::task::JoinHandle;

use crate::blocking::blocking;
use crate::config::TlsConfig;
use crate::error::Error;

/// Time between two looks at the files.
const LOOK_PAUSE: Duration = Duration::from_secs(2);
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Makes the one library for TLS that this binary has known to whoever asks for one. May be called again.
pub fn install_provider() {
    // Fails when it was installed before.
    let _ = crypto::aws_lc_rs::default_provider().install_default();
}

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What was read from them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate that is in use.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(current.clone())
    }
}

/// Looks for changes until it is dropped.
#[derive(Debug)]
pub struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What connections are encrypted with; `None` when they are not. Must be called within a tokio runtime. Blocks.
pub fn start(config: &TlsConfig) -> Result<Option<(ServerConfig, Watch)>, String> {
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
        return Ok(None);
    };
    install_provider();
    let files = Files {
        certificate: certificate.clone(),
        key: key.clone(),
    };
    let contents = files.read().map_err(|error| format!("tls: {error}"))?;
    let certified = contents
        .certified()
        .map_err(|error| format!("tls: {error}"))?;
    let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(current.clone());
    let watching = tokio::spawn(watch(files, contents, current));
    Ok(Some((server, Watch(watching))))
}

/// Takes every new pair into use.
async fn watch(files: Files, mut used: Contents, current: Arc<Current>) {
    let mut refused = None;
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        let reading = files.clone();
        let read = blocking(move || reading.read().map_err(Error::internal)).await;
        let contents = match read {
            Ok(contents) if contents == used => continue,
            Ok(contents) => contents,
            Err(error) => {
                tracing::warn!(
                    cause = error.cause,
                    "cannot read the certificate; the one before stays in use"
                );
                continue;
            }
        };
        if refused.as_ref() == Some(&contents) {
            continue;
        }
        match contents.certified() {
            Ok(certified) => {
                *current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                tracing::info!("took a new certificate into use");
                used = contents;
                refused = None;
            }
            Err(error) => {
                tracing::warn!(
                    error,
                    "cannot use the new certificate; the one before stays in use"
                );
                refused = Some(contents);
            }
        }
    }
}

impl Files {
    fn read(&self) -> Result<Contents, String> {
        Ok(Contents {
            certificate: read_file(&self.certificate)?,
            key: read_file(&self.key)?,
        })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        if fs::metadata(path)?.len() > FILE_BYTES_MAX {
            return Err(io::Error::other("it is too large to be one"));
        }
        fs::read(path)
    };
    read().map_err(|error| format!("cannot read `{}`: {error}", path.display()))
}

impl Contents {
    /// The pair, if the key is that of the certificate.
    fn certified(&self) -> Result<CertifiedKey, String> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("the certificate file cannot be read: {error}"))?;
        if chain.is_empty() {
            return Err("the certificate file has no certificate".to_owned());
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| format!("the key file has no private key: {error}"))?;
        let provider = CryptoProvider::get_default().ok_or("there is no library for TLS")?;
        CertifiedKey::from_der(chain, key, provider)
            .map_err(|error| format!("the certificate and the key cannot be used: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Contents {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Contents {
            certificate: made.cert.pem().into_bytes(),
            key: made.signing_key.serialize_pem().into_bytes(),
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        install_provider();
        let (one, other) = (pair(), pair());
        assert!(one.certified().is_ok());
        let mixed = Contents {
            certificate: one.certificate.clone(),
            key: other.key,
        };
        let refused = mixed.certified().unwrap_err();
        assert!(refused.contains("cannot be used"), "{refused}");
        let empty = Contents {
            certificate: Vec::new(),
            key: one.key,
        };
        assert!(empty.certified().is_err());
    }
}
