//! Phones that register and call, as many things a second as the chain lets them, and the one inside that answers.

mod answerer;
mod phone;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
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

    /// Lets all of them do something for a while.
    pub(crate) fn work(&self, deed: Deed, length: Duration) -> Result<Done> {
        let mut phones = self
            .phones
            .lock()
            .map_err(|_| anyhow!("a phone has failed"))?;
        let start = Instant::now();
        let mut done = Done {
            deeds: 0,
            messages: 0,
            took: Duration::ZERO,
        };
        let own = std::mem::take(&mut *phones);
        self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for mut phone in own {
                tasks.spawn(async move {
                    let (mut deeds, messages) = (0, phone.messages());
                    while start.elapsed() < length {
                        match deed {
                            Deed::Register => phone.renew().await?,
                            Deed::Call => phone.call().await?,
                        }
                        deeds += 1;
                    }
                    let messages = phone.messages() - messages;
                    Ok::<_, anyhow::Error>((phone, deeds, messages))
                });
            }
            while let Some(task) = tasks.join_next().await {
                let (phone, deeds, messages) = task??;
                phones.push(phone);
                done.deeds += deeds;
                done.messages += messages;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        done.took = start.elapsed();
        Ok(done)
    }
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
