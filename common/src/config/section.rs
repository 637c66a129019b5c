//! Sections that the files of both edges share.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use super::error::Problem;
use super::pem::{self, FileError};
use super::reader::{FileKind, Table};
use super::value::Value;
use crate::limits;
use crate::net::Domain;
use crate::telemetry::{LogFilter, LogFormat};

/// A certificate chain and its private key, by file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Certificates in PEM form, the leaf first.
    pub chain: PathBuf,
    /// The private key in PEM form.
    pub key: PathBuf,
}

impl Identity {
    /// Reads both files anew and proves that they belong together.
    ///
    /// # Errors
    /// [`FileError`] about the file at fault.
    pub fn load(&self) -> Result<CertifiedKey, FileError> {
        pem::certified_key(&self.chain, &self.key)
    }

    /// Reads the two keys of a table that name a chain and its private key.
    pub fn read(table: &Table<'_>, chain: &'static str, key: &'static str) -> Option<Self> {
        let chain = table.required(
            chain,
            "the file of a certificate chain in PEM form",
            |value| value.file(FileKind::Chain),
        );
        let of = chain.clone().unwrap_or_default();
        let key = table.required(key, "the file of its private key in PEM form", |value| {
            value.file(FileKind::KeyOf(of))
        });
        Some(Self {
            chain: chain?,
            key: key?,
        })
    }
}

/// How this side proves itself on the link, and whom it believes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkIdentity {
    /// Own certificate and key; made for the link alone, never the public ones.
    pub identity: Identity,
    /// Files of the authorities that may have signed the other side's certificate.
    pub trust_anchors: Vec<PathBuf>,
}

impl LinkIdentity {
    /// Reads the trust anchors anew.
    ///
    /// # Errors
    /// [`FileError`] about the file at fault.
    pub fn load_trust_anchors(&self) -> Result<RootCertStore, FileError> {
        pem::trust_anchors(&self.trust_anchors)
    }

    /// Reads `certificate`, `key` and `trust_anchors` of `[link]`.
    pub fn read(table: &Table<'_>) -> Option<Self> {
        let identity = Identity::read(table, "certificate", "key");
        let allowed = "a list of files with the link's own authority, such as [\"link-ca.pem\"]";
        let trust_anchors = table.required_list("trust_anchors", allowed, trust_anchor);
        Some(Self {
            identity: identity?,
            trust_anchors,
        })
    }
}

/// Reads the path of a file with trust anchors.
///
/// # Errors
/// [`Problem`] if it is no text.
pub fn trust_anchor(value: &Value<'_>) -> Result<PathBuf, Problem> {
    value.file(FileKind::TrustAnchors)
}

/// How HTTPS requests cross the link. edge-c decides, and says so in the greeting of each connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpsTransport {
    /// HTTP/2 streams on shared connections.
    H2,
    /// HTTP/1.1 on a pool of connections that edge-c dialled.
    #[default]
    Pool,
}

impl HttpsTransport {
    /// Reads `https_transport`.
    pub fn read(table: &Table<'_>) -> Self {
        let words = [("pool", Self::Pool), ("h2", Self::H2)];
        table.or("https_transport", Self::default(), |value| {
            value.choice(&words)
        })
    }
}

/// The listener for people and machines that look after this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; it asks nobody who they are, so this is loopback by default.
    pub listen: SocketAddr,
    /// Names besides IP addresses and `localhost` that callers may use for it.
    pub names: Vec<Domain>,
}

impl Admin {
    /// Reads `[admin]`; `port` is the default one.
    pub fn read(table: &Table<'_>, port: u16) -> Self {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listen = table.or("listen", default, Value::socket_addr);
        if !listen.ip().is_loopback() {
            table.warn(
                "listen",
                format!("is {listen}, which other machines may reach: the admin listener asks nobody who they are"),
                "use a loopback address, or let a packet filter decide who may connect",
            );
        }
        let names = table.list("names", Value::domain);
        Self { listen, names }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// What is written.
    pub filter: LogFilter,
}

impl Log {
    /// Reads `[log]`.
    pub fn read(table: &Table<'_>) -> Self {
        let words = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Self {
            format: table.or("format", LogFormat::Text, |value| value.choice(&words)),
            filter: table.or("filter", LogFilter::default(), |value| {
                value.parsed(LogFilter::ALLOWED)
            }),
        }
    }
}

/// How this process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainGrace(pub Duration);

impl DrainGrace {
    /// Reads `[drain]`: how long requests in flight may go on after a stop was asked for.
    pub fn read(table: &Table<'_>) -> Self {
        let range = Duration::ZERO..=limits::DRAIN_GRACE_MAX;
        let grace = table.or("grace", limits::DRAIN_GRACE_DEFAULT, |value| {
            value.duration(&range)
        });
        Self(grace)
    }
}

/// Reads `[runtime] worker_threads`: `None` stands for one thread per processor.
pub fn worker_threads(table: &Table<'_>) -> Option<NonZeroUsize> {
    let threads = table.optional("worker_threads", |value| {
        value.integer(&(1..=limits::WORKER_THREADS_MAX))
    });
    threads.and_then(|threads| NonZeroUsize::new(usize::from(threads)))
}

/// At most so many within so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// Within how long.
    pub window: Duration,
}

impl Rate {
    /// Reads `{ count, window }`.
    pub fn read(table: &Table<'_>, default: Self) -> Self {
        let range = Duration::from_secs(1)..=limits::RATE_WINDOW_MAX;
        Self {
            count: table.or("count", default.count, |value| {
                value.integer(&(1..=limits::RATE_COUNT_MAX))
            }),
            window: table.or("window", default.window, |value| value.duration(&range)),
        }
    }
}
