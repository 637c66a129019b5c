//! Clients that sign in, that are there, and that send messages to themselves.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use support::xmpp::wire::{auth, header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::stage::{DOMAIN, PASSWORD};

/// Whom clients connect to.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    name: ServerName<'static>,
    connector: TlsConnector,
}

/// An authenticated stream with a bound resource.
#[derive(Debug)]
pub(crate) struct Stream {
    tls: TlsStream<TcpStream>,
    user: String,
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) count: u64,
    pub(crate) took: Duration,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, authority: &Path) -> Result<Self> {
        let mut anchors = RootCertStore::empty();
        anchors.add(CertificateDer::from_pem_file(authority)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(anchors)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"xmpp-client".to_vec()];
        // Every login is that of somebody new.
        config.resumption = Resumption::disabled();
        Ok(Self {
            address,
            name: ServerName::try_from(DOMAIN)?,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Version and cipher suite that clients get.
    pub(crate) async fn agreed(&self) -> Result<String> {
        let stream = self.sign_in().await?;
        let (_, session) = stream.tls.get_ref();
        let suite = session.negotiated_cipher_suite().context("no suite")?;
        Ok(format!("{:?}", suite.suite()))
    }

    /// So many streams, a few at a time.
    pub(crate) fn streams(&self, runtime: &Runtime, count: usize) -> Result<Vec<Stream>> {
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let mut streams = Vec::with_capacity(count);
            for _ in 0..count {
                if tasks.len() >= AT_A_TIME {
                    streams.push(tasks.join_next().await.context("no task")???);
                }
                let target = self.clone();
                tasks.spawn(async move { target.sign_in().await });
            }
            while let Some(stream) = tasks.join_next().await {
                streams.push(stream??);
            }
            Ok(streams)
        })
    }

    /// So many clients sign in and leave, again and again.
    pub(crate) fn logins(
        &self,
        runtime: &Runtime,
        workers: usize,
        length: Duration,
    ) -> Result<Done> {
        let start = Instant::now();
        let count = runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..workers {
                let target = self.clone();
                tasks.spawn(async move {
                    let mut count = 0;
                    while start.elapsed() < length {
                        target.sign_in().await?.leave().await?;
                        count += 1;
                    }
                    Ok::<u64, anyhow::Error>(count)
                });
            }
            sum(tasks).await
        })?;
        let took = start.elapsed();
        Ok(Done { count, took })
    }

    /// Connects, authenticates and binds a resource, the way clients do it.
    async fn sign_in(&self) -> Result<Stream> {
        let user = format!("user{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let work = async {
            let tcp = TcpStream::connect(self.address).await?;
            tcp.set_nodelay(true)?;
            let tls = self.connector.connect(self.name.clone(), tcp).await?;
            let mut stream = Stream { tls, user };
            stream.ask(&header(DOMAIN), "</stream:features>").await?;
            let auth = auth(&stream.user, PASSWORD);
            stream.ask(&auth, "<success").await?;
            stream.ask(&header(DOMAIN), "</stream:features>").await?;
            stream.ask(BIND, "</iq>").await?;
            Ok(stream)
        };
        timeout(PATIENCE, work).await.context("Failed to sign in")?
    }
}

impl Stream {
    /// Every stream sends a message to itself and waits for it, again and again. Counts messages in both directions.
    pub(crate) fn messages(
        runtime: &Runtime,
        streams: Vec<Self>,
        length: Duration,
    ) -> Result<(Vec<Self>, Done)> {
        let start = Instant::now();
        let mut kept = Vec::with_capacity(streams.len());
        let count = runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for mut stream in streams {
                tasks.spawn(async move {
                    let message = format!(
                        "<message to='{}@{DOMAIN}' type='chat' id='m'><body>{}</body></message>",
                        stream.user,
                        "x".repeat(BODY_BYTES)
                    );
                    let mut count = 0;
                    while start.elapsed() < length {
                        stream.ask(&message, "</message>").await?;
                        count += 2;
                    }
                    Ok::<_, anyhow::Error>((stream, count))
                });
            }
            let mut sum = 0;
            while let Some(task) = tasks.join_next().await {
                let (stream, count) = task??;
                kept.push(stream);
                sum += count;
            }
            Ok::<u64, anyhow::Error>(sum)
        })?;
        let took = start.elapsed();
        Ok((kept, Done { count, took }))
    }

    /// Closes the stream and waits for the other side to do so.
    async fn leave(mut self) -> Result<()> {
        self.tls.write_all(b"</stream:stream>").await?;
        let mut bytes = [0; 512];
        let work = async { while self.tls.read(&mut bytes).await.is_ok_and(|count| count > 0) {} };
        timeout(PATIENCE, work).await.context("Failed to leave")
    }

    /// Says something and reads until the answer has come.
    async fn ask(&mut self, text: &str, wanted: &str) -> Result<()> {
        self.tls.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        let mut bytes = [0; 2048];
        while !contains(&answer, wanted.as_bytes()) {
            let read = timeout(PATIENCE, self.tls.read(&mut bytes)).await;
            let count = read.context("Failed to read an answer")??;
            if count == 0 {
                bail!("closed after {:?}", String::from_utf8_lossy(&answer));
            }
            answer.extend(bytes.iter().take(count));
            ensure!(answer.len() < ANSWER_BYTES_MAX, "too long an answer");
        }
        Ok(())
    }
}

async fn sum(mut tasks: JoinSet<Result<u64>>) -> Result<u64> {
    let mut sum = 0;
    while let Some(task) = tasks.join_next().await {
        sum += task??;
    }
    Ok(sum)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

static NEXT: AtomicUsize = AtomicUsize::new(0);
const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>desk</resource></bind></iq>";
/// Streams that begin at the same time.
const AT_A_TIME: usize = 16;
/// Of a message, as people write them.
const BODY_BYTES: usize = 200;
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);
