//! Phones that register and call, as many things a second as the chain lets them, and the one inside that answers.

mod answerer;
mod phone;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

pub(crate) use answerer::Answerer;
use phone::Phone;

/// What a phone does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Register,
    Call,
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) deeds: u64,
    /// Messages that phones sent and received.
    pub(crate) messages: u64,
    pub(crate) took: Duration,
}

/// Whom phones connect to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) name: &'a str,
    pub(crate) authority: &'a Path,
    /// The number of the first phone's user.
    pub(crate) first_user: usize,
}

/// Registered phones, each with a TLS connection of its own.
#[derive(Debug)]
pub(crate) struct Phones {
    runtime: Handle,
    phones: Mutex<Vec<Phone>>,
}

impl Phones {
    /// Connects and registers them, a few at a time.
    pub(crate) fn register(runtime: &Runtime, target: &Target<'_>, count: usize) -> Result<Self> {
        let connector = connector(target.authority)?;
        let name = ServerName::try_from(target.name.to_owned())?;
        let phones = runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let mut phones = Vec::with_capacity(count);
            for number in 0..count {
                if tasks.len() >= AT_A_TIME {
                    phones.push(tasks.join_next().await.context("no task")???);
                }
                let (connector, name, address) = (connector.clone(), name.clone(), target.address);
                let user = (target.first_user + number).to_string();
                tasks.spawn(async move { Phone::register(&connector, name, address, user).await });
            }
            while let Some(phone) = tasks.join_next().await {
                phones.push(phone??);
            }
            Ok::<_, anyhow::Error>(phones)
        })?;
        Ok(Self {
            runtime: runtime.handle().clone(),
            phones: Mutex::new(phones),
        })
    }

    /// Whether none of them has failed.
    pub(crate) fn are_usable(&self) -> bool {
        self.phones.lock().is_ok_and(|phones| !phones.is_empty())
    }

    /// Lets all of them do something in turn for a while, some at a time.
    pub(crate) fn work(&self, deed: Deed, length: Duration) -> Result<Done> {
        let mut phones = self
            .phones
            .lock()
            .map_err(|_| anyhow!("a phone has failed"))?;
        let before: u64 = phones.iter().map(Phone::messages).sum();
        let queue = Arc::new(Mutex::new(VecDeque::from(std::mem::take(&mut *phones))));
        let start = Instant::now();
        let deeds = self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let begun = Arc::<AtomicU32>::default();
            for _ in 0..AT_WORK {
                let pace = deed.pace().map(|pace| (Arc::clone(&begun), pace));
                let queue = Arc::clone(&queue);
                tasks.spawn(in_turn(queue, deed, pace, (start, start + length)));
            }
            let mut deeds = 0;
            while let Some(task) = tasks.join_next().await {
                deeds += task??;
            }
            Ok::<_, anyhow::Error>(deeds)
        })?;
        let took = start.elapsed();
        phones.extend(lock(&queue).drain(..));
        let after: u64 = phones.iter().map(Phone::messages).sum();
        Ok(Done {
            deeds,
            messages: after - before,
            took,
        })
    }
}

/// Takes the phone that has waited longest, again and again.
async fn in_turn(
    queue: Arc<Mutex<VecDeque<Phone>>>,
    deed: Deed,
    pace: Option<(Arc<AtomicU32>, Duration)>,
    (start, end): (Instant, Instant),
) -> Result<u64> {
    let mut deeds = 0;
    while Instant::now() < end {
        if let Some((begun, pace)) = &pace {
            let due = start + *pace * begun.fetch_add(1, Ordering::Relaxed);
            if due >= end {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
        }
        let next = lock(&queue).pop_front();
        let mut phone = next.context("fewer phones than are at work")?;
        match deed {
            Deed::Register => phone.renew().await?,
            Deed::Call => phone.call().await?,
        }
        lock(&queue).push_back(phone);
        deeds += 1;
    }
    Ok(deeds)
}

impl Deed {
    /// The time between two of them, if they are not done as fast as can be.
    const fn pace(self) -> Option<Duration> {
        match self {
            Self::Register => None,
            Self::Call => Some(Duration::from_micros(1_000_000 / CALLS_PER_SECOND)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connector(authority: &Path) -> Result<TlsConnector> {
    let mut anchors = RootCertStore::empty();
    anchors.add(CertificateDer::from_pem_file(authority)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(anchors)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Phones that connect at the same time.
const AT_A_TIME: usize = 16;
/// Calls that begin in a second. Ports of media rest for half a minute after a call: far more calls would use them up.
pub(crate) const CALLS_PER_SECOND: u64 = 200;
/// Phones that register or call at the same time.
const AT_WORK: usize = 32;
