//! Certificate chains, private keys and trust anchors in PEM files (RFC 7468). Files are read when asked for,
//! so that a reload reads them anew; nothing is cached here.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::limits;

/// A file that can't be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names {}, which {fault}", path.display())]
pub struct FileError {
    /// The file, with its folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: FileFault,
}

/// What is wrong with a file; continues "the file ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// A certificate that is no X.509, or no trust anchor.
    #[error("holds a certificate that can't be used: {0}")]
    Certificate(String),
    /// No keys of DNS cookies.
    #[error("holds no usable DNS cookie keys: it {0}")]
    CookieKeys(String),
    /// A private key behind a pass phrase.
    #[error("holds an encrypted private key")]
    Encrypted,
    /// A private key of another certificate.
    #[error("holds a private key that does not belong to the certificate")]
    KeyMismatch,
    /// No such file.
    #[error("does not exist")]
    Missing,
    /// No PEM section of the kind that is wanted.
    #[error("holds no {0}")]
    Nothing(&'static str),
    /// The PEM form is broken.
    #[error("is not valid PEM: {0}")]
    Pem(String),
    /// Another failure to read it.
    #[error("can't be read: {0}")]
    Read(String),
    /// Over the limit.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// A private key of a kind that TLS here does not use.
    #[error("holds a private key that can't be used: {0}")]
    UnusableKey(String),
    /// A zone that can't be served.
    #[error("holds a zone that can't be served: {0}")]
    Zone(String),
}

impl FileError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        let path = self.path.display();
        match &self.fault {
            FileFault::Certificate(_) => {
                format!("look at it with: openssl x509 -in {path} -noout -text")
            }
            FileFault::CookieKeys(_) => {
                "write keys of 32 hexadecimal digits, one in a line, the one in use first: openssl rand -hex 16"
                    .to_owned()
            }
            FileFault::Zone(_) => {
                "correct the zone file; named-checkzone and kzonecheck tell more".to_owned()
            }
            FileFault::Encrypted => {
                format!("remove the pass phrase: openssl pkey -in {path} -out {path}.plain")
            }
            FileFault::KeyMismatch => {
                "name the key that the certificate was made with; the leaf certificate comes first in its file"
                    .to_owned()
            }
            FileFault::Missing => {
                "create it or correct the path; relative paths start at the folder of the configuration file"
                    .to_owned()
            }
            FileFault::Nothing(kind) => format!("a PEM file with a {kind} is needed here"),
            FileFault::Pem(_) => {
                "a PEM file has -----BEGIN and -----END lines around base64 text".to_owned()
            }
            FileFault::Read(_) => "let the user that runs this read it".to_owned(),
            FileFault::TooLarge(_) => "name the right file".to_owned(),
            FileFault::UnusableKey(_) => {
                "use an ECDSA (P-256, P-384) or RSA (2048 bits or more) key".to_owned()
            }
        }
    }
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// [`FileError`] if it is missing, unreadable or larger.
pub fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let fault = |error: &io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            FileFault::Missing
        } else {
            FileFault::Read(error.to_string())
        }
    };
    let file = File::open(path).map_err(|error| refuse(path, fault(&error)))?;
    let mut bytes = Vec::new();
    let read = file
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(path, fault(&error)))?;
    if u64::try_from(read).is_ok_and(|read| read <= bytes_max) {
        Ok(bytes)
    } else {
        Err(refuse(path, FileFault::TooLarge(bytes_max)))
    }
}

/// Reads every certificate of a file, the leaf first.
///
/// # Errors
/// [`FileError`] if there is none or the file can't be read.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read_file(path, limits::PEM_FILE_BYTES_MAX)?;
    let chain = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refuse(path, FileFault::Pem(error.to_string())))?;
    if chain.is_empty() {
        return Err(refuse(path, FileFault::Nothing("certificate")));
    }
    Ok(chain)
}

/// Reads the first private key of a file (PKCS #8, PKCS #1 or SEC1).
///
/// # Errors
/// [`FileError`] if there is none, it is encrypted, or the file can't be read.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let bytes = read_file(path, limits::PEM_FILE_BYTES_MAX)?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&bytes) {
        return Ok(key);
    }
    let text = String::from_utf8_lossy(&bytes);
    let is_encrypted =
        text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED");
    let fault = if is_encrypted {
        FileFault::Encrypted
    } else {
        FileFault::Nothing("private key")
    };
    Err(refuse(path, fault))
}

/// Reads trust anchors out of one or more files.
///
/// # Errors
/// [`FileError`] about the first file that has none or a certificate that can't be a trust anchor.
pub fn trust_anchors(paths: &[PathBuf]) -> Result<RootCertStore, FileError> {
    let mut store = RootCertStore::empty();
    for path in paths {
        for certificate in certificates(path)? {
            store
                .add(certificate)
                .map_err(|error| refuse(path, FileFault::Certificate(error.to_string())))?;
        }
    }
    Ok(store)
}

/// Reads a chain and its private key, and proves that they belong together.
///
/// # Errors
/// [`FileError`] about the file that is at fault.
pub fn certified_key(chain: &Path, key: &Path) -> Result<CertifiedKey, FileError> {
    let certificates = certificates(chain)?;
    let signing = signing_key(key)?;
    let certified = CertifiedKey::new(certificates, signing);
    match certified.keys_match() {
        // Unknown: the provider can't tell the public half of this key; the handshake will.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(certified)
        }
        Err(rustls::Error::InconsistentKeys(_)) => Err(refuse(key, FileFault::KeyMismatch)),
        Err(error) => Err(refuse(chain, FileFault::Certificate(error.to_string()))),
    }
}

fn signing_key(path: &Path) -> Result<Arc<dyn SigningKey>, FileError> {
    let key = private_key(path)?;
    aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|error| refuse(path, FileFault::UnusableKey(error.to_string())))
}

fn refuse(path: &Path, fault: FileFault) -> FileError {
    FileError {
        path: path.to_owned(),
        fault,
    }
}
