//! Dials one edge-e and keeps the link to it: the control stream first, then as many HTTPS connections as are in use.
//!
//! Only ever dials out. What arrives on the connections is `stream`'s business.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use arc_swap::ArcSwap;
use common::id::CoreId;
use common::limits;
use common::link::control::message::{Command, Policy, Report};
use common::link::control::{Control, Event};
use common::link::greeting::{Answer, Hello, PROTOCOL, Purpose, Resume};
use common::net::{Domain, Host, HostPort};
use common::runtime::drain::Signal;
use common::runtime::http_server::{self, Timeouts, Version};
use common::runtime::progress::Counters;
use common::runtime::workers::Workers;
use common::runtime::{clock, control, greeting, listen};
use rustls_pki_types::{DnsName, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::Instrument as _;

use crate::sessions::Sessions;
use crate::stream::Streams;

/// The product's version, as both edges state it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Who is dialled, and as whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the edge that clients use.
    pub edge: Domain,
    /// Where its link listener is.
    pub address: HostPort,
    /// The name that its certificate on the link must have.
    pub certificate_name: Domain,
    /// The local address to dial from.
    pub bind_address: Option<IpAddr>,
    /// Own name, which the own certificate has.
    pub core: Domain,
    /// Own number.
    pub core_id: CoreId,
    /// Random, new at each start.
    pub instance: u64,
    /// What HTTPS connections are: [`Purpose::HttpsPool`] or [`Purpose::HttpsShared`].
    pub https: Purpose,
    /// How many shared connections, where they are shared.
    pub shared_connections: usize,
}

/// The dialling end of the link to one edge-e.
pub struct LinkClient {
    config: Config,
    tls: Arc<ArcSwap<rustls::ClientConfig>>,
    policy: watch::Receiver<Arc<Policy>>,
    sessions: Sessions,
    streams: Arc<Streams>,
    workers: Workers,
    is_up: watch::Sender<bool>,
    https: Arc<Https>,
}

/// The HTTPS connections of the link.
#[derive(Debug, Default)]
struct Https {
    open: AtomicUsize,
    dialling: AtomicUsize,
    /// Requests on all of them.
    requests: Arc<Counters>,
    /// A request has come or a connection has gone.
    changed: Notify,
}

type Stream = TlsStream<TcpStream>;

/// edge-e closes what it does not need; it is the client on these connections.
const TIMEOUTS: Timeouts = Timeouts {
    head: limits::LINK_HEAD_TIMEOUT,
    idle: limits::LINK_HTTPS_IDLE_TIMEOUT,
    stall: limits::HTTP_STALL_TIMEOUT,
};

impl std::fmt::Debug for LinkClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkClient")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl LinkClient {
    /// A client that has not dialled yet.
    #[must_use]
    pub fn new(
        config: Config,
        tls: Arc<ArcSwap<rustls::ClientConfig>>,
        policy: watch::Receiver<Arc<Policy>>,
        sessions: Sessions,
        streams: Arc<Streams>,
        workers: Workers,
    ) -> Self {
        Self {
            config,
            tls,
            policy,
            sessions,
            streams,
            workers,
            is_up: watch::Sender::new(false),
            https: Arc::default(),
        }
    }

    /// Whether the control stream stands, now and whenever that changes.
    #[must_use]
    pub fn is_up(&self) -> watch::Receiver<bool> {
        self.is_up.subscribe()
    }

    /// The edge that is dialled.
    #[must_use]
    pub const fn edge(&self) -> &Domain {
        &self.config.edge
    }

    /// HTTPS connections open, and requests on them.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        (
            self.https.open.load(Ordering::Relaxed),
            self.https.requests.in_flight(),
        )
    }

    /// Dials, and dials again, until the drain is over.
    pub async fn run(self: Arc<Self>, drain: Signal) {
        let span = tracing::info_span!("link", edge = %self.config.edge);
        let mut control = Control::new(clock::now());
        let dialling = async {
            let mut back_off = BackOff::new();
            loop {
                let started = clock::now();
                let result = self.session(&mut control, &drain).await;
                self.is_up.send_replace(false);
                if clock::elapsed(started) > limits::LINK_BACK_OFF_MAX {
                    back_off = BackOff::new();
                }
                let wait = back_off.next();
                match result {
                    Ok(reason) => {
                        tracing::warn!(side = "link", %reason, remedy = "none: dialling again", "link lost");
                    }
                    Err(error) => {
                        tracing::warn!(side = "link", reason = %format_args!("{error:#}"),
                        retry_ms = wait.as_millis(), remedy = "look at edge-e's log; compare with `edge-c doctor`",
                        "can't link");
                    }
                }
                tokio::time::sleep(wait).await;
            }
        };
        tokio::select! {
            () = dialling.instrument(span) => {}
            () = drain.over() => {}
        }
    }

    /// One life of the control stream, and the HTTPS connections beside it.
    async fn session(
        self: &Arc<Self>,
        machine: &mut Control<Command, Report>,
        drain: &Signal,
    ) -> anyhow::Result<control::Ended> {
        let (stream, answer) = self.dial(Purpose::Control, machine.resume()).await?;
        // The feed first, then the state: so nothing falls between the two.
        let (commands, mut outgoing) = mpsc::channel(limits::CONTROL_CHANNEL_MAX);
        let feed = Feed::new(self, commands);
        machine.handle_connected(
            answer.instance,
            answer.resume,
            self.config.instance,
            clock::both(),
        );
        self.is_up.send_replace(true);
        tracing::info!(version = answer.version, "linked");
        let driving = control::drive(machine, stream, &mut outgoing, |event| {
            self.on_event(&event)
        });
        let ended = tokio::select! {
            ended = driving => ended,
            () = feed.run(drain) => control::Ended::Shutdown,
            () = self.keep_https(drain) => control::Ended::Shutdown,
        };
        machine.handle_eof();
        Ok(ended)
    }

    fn on_event(&self, event: &Event<Report>) -> Vec<Command> {
        match event {
            Event::PeerReset => self.whole_state(),
            Event::ClockOffset(offset_ms) => {
                alarm_skew(*offset_ms);
                Vec::new()
            }
            Event::Applied(Report::Draining) => {
                tracing::info!("the edge drains");
                Vec::new()
            }
            Event::Applied(Report::Ready) | Event::PeerLost | Event::Unknown => Vec::new(),
        }
    }

    /// What an edge that knows nothing must know before it serves anybody: keys before domains.
    fn whole_state(&self) -> Vec<Command> {
        let state = self.sessions.filter_state();
        let revoked = state.tombstones.chunks(limits::TOMBSTONES_PER_MESSAGE);
        let mut commands = vec![Command::filter_keys(&state.keys)];
        commands.extend(revoked.map(|chunk| Command::Revoke {
            sessions: chunk.to_vec(),
        }));
        commands.push(Command::Policy(self.policy.borrow().as_ref().clone()));
        commands
    }

    /// Keeps enough HTTPS connections: some spare ones, and more the more are in use.
    async fn keep_https(self: &Arc<Self>, drain: &Signal) {
        loop {
            let changed = self.https.changed.notified();
            for _ in 0..self.missing() {
                self.https.dialling.fetch_add(1, Ordering::Relaxed);
                let client = Arc::clone(self);
                let drain = drain.clone();
                self.workers
                    .spawn(async move { client.https_connection(drain).await });
            }
            changed.await;
        }
    }

    fn missing(&self) -> usize {
        let https = &self.https;
        let dialling = https.dialling.load(Ordering::Relaxed);
        let open = https.open.load(Ordering::Relaxed);
        let wanted = match self.config.https {
            Purpose::HttpsShared => self.config.shared_connections,
            Purpose::HttpsPool | Purpose::Control => {
                let busy = https.requests.in_flight();
                let spare = limits::LINK_POOL_SPARE.max(busy / 4);
                busy.saturating_add(spare).min(limits::LINK_POOL_MAX)
            }
        };
        let missing = wanted.saturating_sub(open).saturating_sub(dialling);
        missing.min(limits::LINK_DIALS_MAX.saturating_sub(dialling))
    }

    async fn https_connection(self: Arc<Self>, drain: Signal) {
        let dialled = self.dial(self.config.https, None).await;
        let stream = match dialled {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(side = "link", reason = %format_args!("{error:#}"),
                    remedy = "look at edge-e's log", "can't open an HTTPS connection");
                // Whoever is told of the failure dials again: not at once.
                tokio::time::sleep(limits::LINK_BACK_OFF_MIN).await;
                self.https.dialling.fetch_sub(1, Ordering::Relaxed);
                self.https.changed.notify_one();
                return;
            }
        };
        self.https.open.fetch_add(1, Ordering::Relaxed);
        self.https.dialling.fetch_sub(1, Ordering::Relaxed);
        self.https.changed.notify_one();
        self.serve_https(stream, &drain).await;
        self.https.open.fetch_sub(1, Ordering::Relaxed);
        self.https.changed.notify_one();
    }

    async fn serve_https(&self, stream: Stream, drain: &Signal) {
        let version = match self.config.https {
            Purpose::HttpsShared => Version::LinkHttp2,
            Purpose::HttpsPool | Purpose::Control => Version::Http1,
        };
        let edge = Arc::new(self.config.edge.clone());
        let handler = |request| {
            let in_flight = self.https.requests.begin();
            if self.missing() > 0 {
                self.https.changed.notify_one();
            }
            let waited_for = drain.in_flight();
            let answer = Arc::clone(&self.streams).answer(Arc::clone(&edge), request);
            async move {
                let response = answer.await.map(|body| body.with_in_flight(in_flight));
                drop(waited_for);
                response
            }
        };
        // Requests under way are finished after the drain has begun; what is left when it is over ends with the workers.
        let serving = http_server::serve(
            stream,
            version,
            handler,
            Arc::default(),
            TIMEOUTS,
            drain.draining(),
        );
        let ended = Box::pin(serving).await;
        tracing::debug!(edge = %self.config.edge, reason = %ended, "HTTPS connection ended");
    }

    async fn dial(
        &self,
        purpose: Purpose,
        resume: Option<Resume>,
    ) -> anyhow::Result<(Stream, Welcome)> {
        let Config {
            address,
            certificate_name,
            ..
        } = &self.config;
        let connecting = self.connect();
        let tcp = tokio::time::timeout(limits::LINK_DIAL_TIMEOUT, connecting).await;
        let tcp = tcp
            .with_context(|| format!("{address} did not answer"))?
            .with_context(|| format!("can't reach {address}"))?;
        listen::configure_link(&tcp)?;
        let name = ServerName::DnsName(DnsName::try_from(certificate_name.as_str().to_owned())?);
        let handshake = TlsConnector::from(self.tls.load_full()).connect(name, tcp);
        let mut stream = tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, handshake)
            .await
            .context("TLS handshake timed out")?
            .context("TLS handshake failed")?;
        greeting::send(&mut stream, &self.hello(purpose, resume)).await?;
        let welcome = check(greeting::receive(&mut stream).await?)?;
        Ok((stream, welcome))
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let port = self.config.address.port;
        let addresses: Vec<SocketAddr> = match &self.config.address.host {
            Host::Address(address) => vec![SocketAddr::new(*address, port)],
            Host::Name(name) => tokio::net::lookup_host((name.as_str(), port))
                .await?
                .collect(),
        };
        let mut last = anyhow!("the name has no address");
        for address in addresses.into_iter().take(limits::ADDRESSES_MAX) {
            match self.connect_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = anyhow!(error).context(format!("{address}")),
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = self
            .config
            .bind_address
            .filter(|source| source.is_ipv4() == address.is_ipv4())
        {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.connect(address).await
    }

    fn hello(&self, purpose: Purpose, resume: Option<Resume>) -> Hello {
        Hello {
            version: VERSION.to_owned(),
            protocol: PROTOCOL,
            core: self.config.core.to_string(),
            core_id: self.config.core_id,
            instance: self.config.instance,
            purpose,
            resume,
        }
    }
}

/// What edge-e said when it let the connection in.
struct Welcome {
    version: String,
    instance: u64,
    resume: Option<Resume>,
}

fn check(answer: Answer) -> anyhow::Result<Welcome> {
    match answer {
        Answer::Refused {
            reason,
            remedy,
            version,
        } => {
            bail!("edge-e {version} refuses the link: {reason}; {remedy}")
        }
        Answer::Welcome {
            version,
            protocol,
            instance,
            resume,
            ..
        } => {
            if !protocol.is_compatible(PROTOCOL) {
                bail!(
                    "edge-e {version} speaks link protocol {}.{}, edge-c {VERSION} speaks {}.{}: upgrade the older",
                    protocol.major,
                    protocol.minor,
                    PROTOCOL.major,
                    PROTOCOL.minor
                );
            }
            Ok(Welcome {
                version,
                instance,
                resume,
            })
        }
    }
}

/// Passes on to edge-e what changes here.
struct Feed<'a> {
    client: &'a LinkClient,
    commands: mpsc::Sender<Command>,
    filter: crate::sessions::FilterFeed,
    policy: watch::Receiver<Arc<Policy>>,
}

impl<'a> Feed<'a> {
    fn new(client: &'a LinkClient, commands: mpsc::Sender<Command>) -> Self {
        let mut filter = client.sessions.filter_feed();
        let mut policy = client.policy.clone();
        filter.keys.mark_unchanged();
        policy.mark_unchanged();
        Self {
            client,
            commands,
            filter,
            policy,
        }
    }

    /// Runs until the control stream is gone.
    async fn run(mut self, drain: &Signal) {
        let mut is_drain_told = false;
        loop {
            let commands = tokio::select! {
                () = drain.draining(), if !is_drain_told => {
                    is_drain_told = true;
                    vec![Command::Drain]
                }
                changed = self.filter.keys.changed() => {
                    if changed.is_err() { return }
                    vec![Command::filter_keys(&self.filter.keys.borrow_and_update())]
                }
                changed = self.policy.changed() => {
                    if changed.is_err() { return }
                    vec![Command::Policy(self.policy.borrow_and_update().as_ref().clone())]
                }
                revoked = self.filter.tombstones.recv() => match revoked {
                    Ok(tombstone) => vec![Command::Revoke { sessions: vec![tombstone] }],
                    Err(broadcast::error::RecvError::Lagged(_)) => self.client.whole_state(),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            };
            for command in commands {
                if self.commands.send(command).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Waits that double, each shortened by up to half at random, so that cores don't dial in step.
struct BackOff(Duration);

impl BackOff {
    const fn new() -> Self {
        Self(limits::LINK_BACK_OFF_MIN)
    }

    fn next(&mut self) -> Duration {
        let whole = self.0;
        self.0 = whole.saturating_mul(2).min(limits::LINK_BACK_OFF_MAX);
        let mut random = [0_u8; 1];
        // Without randomness the waits are just not spread.
        let share =
            aws_lc_rs::rand::fill(&mut random).map_or(0.0, |()| f64::from(random[0]) / 512.0);
        whole.saturating_sub(whole.mul_f64(share))
    }
}

fn alarm_skew(offset_ms: i64) {
    if Duration::from_millis(offset_ms.unsigned_abs()) > limits::CLOCK_SKEW_ALARM {
        tracing::warn!(
            side = "link",
            offset_ms,
            reason = "the clocks of the two edges differ",
            remedy = "run NTP on both machines",
            "clock skew"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        let mut back_off = BackOff::new();
        let waits: Vec<Duration> = (0..12).map(|_| back_off.next()).collect();

        assert!(waits[0] > limits::LINK_BACK_OFF_MIN / 2 && waits[0] <= limits::LINK_BACK_OFF_MIN);
        assert!(waits.iter().all(|wait| *wait <= limits::LINK_BACK_OFF_MAX));
        assert!(waits[11] > limits::LINK_BACK_OFF_MAX / 2);
    }

    #[test]
    fn a_refusal_is_told_with_its_remedy() {
        let answer = Answer::Refused {
            reason: "why".into(),
            remedy: "what".into(),
            version: "1".into(),
        };

        let error = check(answer).err().unwrap().to_string();

        assert_eq!(error, "edge-e 1 refuses the link: why; what");
    }
}
