//! One flow: a client's connection and its stream to a core, driven together by one task.
//!
//! Both directions go on by themselves: what waits for the core stops the reading of the client, and what waits for the
//! client stops the reading of the core, never the other way round.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use common::limits;
use common::link::flow::{self as frames, Decoder, FlowClose, FlowError, Frame, Gate as Command};
use common::link::stream_preface::StreamPreface;
use common::net::{Domain, Host};
use common::policy::jail::UserTag;
use common::redact::Redacted;
use common::runtime::clock;
use common::runtime::drain::Signal;
use common::runtime::link_streams::{ReceiveHalf, SendHalf};
use common::sip::gate::{Admits, Answered, Ended, Gate, Output, Pace, Refusal};
use common::sip::message::{Message, Method};
use common::sip::name::Name;

use super::Sip;
use super::client::Client;
use crate::listener::front::{self, peer_text};
use crate::metrics::{SipClass, SipClosed, SipDirection, SipKeepAlive, SipRefusal};

/// A client's connection and its stream.
pub(crate) struct Flow<C> {
    sip: Arc<Sip>,
    client: C,
    gate: Gate,
    preface: StreamPreface,
    drain: Signal,
    core: Option<CoreSide>,
    /// What waits to be written to the client.
    down: VecDeque<Bytes>,
    /// Since when nothing of it was written.
    stuck_since: Option<Instant>,
    /// When a message last went either way.
    moved: Instant,
    /// The next message of the core is the last.
    is_leaving: bool,
}

/// The stream to the core.
struct CoreSide {
    sending: SendHalf,
    receiving: ReceiveHalf,
    decoder: Decoder,
    /// What waits to be sent.
    up: Bytes,
}

/// Why a flow ended.
enum End {
    Client,
    Core(FlowClose),
    Drained,
    Failed(io::Error),
    Gate(Ended),
    Jailed,
    Link(&'static str),
    Slow,
}

/// What happened.
enum Event {
    Client(io::Result<Moved>),
    Core(Option<Bytes>),
    Draining,
    Sent(bool),
    Time,
}

/// What moved on the client's side.
enum Moved {
    Ended,
    Read,
    Written,
}

impl<C: Client> Flow<C> {
    pub(crate) fn new(sip: Arc<Sip>, client: C, preface: StreamPreface, drain: Signal) -> Self {
        let now = clock::now();
        let pace = Pace {
            per_second: sip.settings.messages_per_second,
            burst: sip.settings.messages_burst,
        };
        let seed = u64::from_be_bytes(front::random());
        let gate = Gate::new(preface.client.0, pace, seed, now);
        Self {
            sip,
            client,
            gate,
            preface,
            drain,
            core: None,
            down: VecDeque::new(),
            stuck_since: None,
            moved: now,
            is_leaving: false,
        }
    }

    /// Until either side ends.
    pub(crate) async fn run(mut self) {
        let start = clock::now();
        let open = self
            .sip
            .metrics
            .sip
            .flows
            .of(self.preface.transport.into())
            .clone();
        open.inc();
        let end = self.relay().await;
        self.close().await;
        open.dec();
        self.sip.metrics.sip.closed.of(end.label()).inc();
        tracing::debug!(
            tracking_id = %self.preface.tracking, client = %self.peer(), transport = self.preface.transport.as_str(),
            side = end.side(), reason = %end, duration_ms = clock::elapsed(start).as_millis(), "connection_closed"
        );
    }

    async fn relay(&mut self) -> End {
        let mut is_draining = false;
        loop {
            if let Err(end) = self.take_outputs().await {
                return end;
            }
            let event = self.event(is_draining).await;
            let now = clock::now();
            match self.handle(event, now) {
                Ok(()) => {}
                Err(End::Drained) if !is_draining => is_draining = true,
                Err(end) => return end,
            }
            if is_draining && now.saturating_duration_since(self.moved) >= limits::SIP_DRAIN_QUIET {
                return End::Drained;
            }
        }
    }

    fn handle(&mut self, event: Event, now: Instant) -> Result<(), End> {
        match event {
            Event::Client(Ok(Moved::Read)) | Event::Sent(true) => Ok(()),
            Event::Client(Ok(Moved::Written)) => {
                self.stuck_since = None;
                Ok(())
            }
            Event::Client(Ok(Moved::Ended)) => Err(End::Client),
            // Most clients leave without TLS's goodbye; messages have their own ends.
            Event::Client(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(End::Client)
            }
            Event::Client(Err(error)) => Err(End::Failed(error)),
            Event::Core(None) => Err(End::Link("the stream to the core has ended")),
            Event::Core(Some(bytes)) => self.take_from_core(&bytes, now),
            Event::Draining => Err(End::Drained),
            Event::Sent(false) => Err(End::Link("the stream to the core is gone")),
            Event::Time => {
                let is_stuck = self.stuck_since.is_some_and(|since| {
                    now.saturating_duration_since(since) >= limits::SIP_WRITE_TIMEOUT
                });
                if is_stuck {
                    return Err(End::Slow);
                }
                self.gate.handle_timeout(now).map_err(End::Gate)
            }
        }
    }

    /// The next thing to happen. Every branch can be given up at any await: what was moved is gone from its place.
    async fn event(&mut self, is_draining: bool) -> Event {
        let now = clock::now();
        if self.down.is_empty() {
            self.stuck_since = None;
        } else if self.stuck_since.is_none() {
            self.stuck_since = Some(now);
        }
        let deadline = self.deadline(is_draining);
        let is_readable = self.gate.is_readable()
            && self.down.len() < limits::SIP_ANSWERS_WAITING_MAX
            && self.core.as_ref().is_none_or(|core| core.up.is_empty());
        let is_idle_down = self.down.is_empty();
        let (client, gate, down) = (&mut self.client, &mut self.gate, &mut self.down);
        let (sent, received) = match &mut self.core {
            None => (None, None),
            Some(core) => {
                let sent = (!core.up.is_empty()).then_some((&mut core.sending, &mut core.up));
                (sent, is_idle_down.then_some(&mut core.receiving))
            }
        };
        tokio::select! {
            moved = client_event(client, gate, down, is_readable) => Event::Client(moved),
            is_sent = send(sent) => Event::Sent(is_sent),
            bytes = receive(received) => Event::Core(bytes),
            () = self.drain.draining(), if !is_draining => Event::Draining,
            () = tokio::time::sleep_until(deadline.into()) => Event::Time,
        }
    }

    fn deadline(&self, is_draining: bool) -> Instant {
        let (gate, _) = self.gate.poll_timeout();
        let stuck = self
            .stuck_since
            .map(|since| since + limits::SIP_WRITE_TIMEOUT);
        let quiet = is_draining.then(|| self.moved + limits::SIP_DRAIN_QUIET);
        [stuck, quiet]
            .into_iter()
            .flatten()
            .fold(gate, Instant::min)
    }

    /// Takes what the gate has for the core or for the client, as long as there is room for it.
    async fn take_outputs(&mut self) -> Result<(), End> {
        while self.down.len() < limits::SIP_ANSWERS_WAITING_MAX
            && self.core.as_ref().is_none_or(|core| core.up.is_empty())
        {
            match self.gate.next(clock::now()).map_err(End::Gate)? {
                None => return Ok(()),
                Some(Output::Forward(message)) => self.forward(message).await?,
                Some(Output::Answer { bytes, to }) => {
                    self.count_answer(to);
                    self.down.push_back(bytes);
                }
                Some(Output::Dropped(refusal)) => self.refused(refusal),
            }
        }
        Ok(())
    }

    async fn forward(&mut self, message: Message) -> Result<(), End> {
        self.moved = clock::now();
        let class = SipClass::of(&message);
        self.sip
            .metrics
            .sip
            .messages
            .of(SipDirection::Up, class)
            .inc();
        if self.core.is_none() {
            match open(&self.sip, &self.preface, &message).await {
                Ok(core) => self.core = Some(core),
                Err(reason) => {
                    self.no_core(&message, &reason);
                    return Ok(());
                }
            }
        }
        let frame = frames::encoded(&Frame::Message(message.as_bytes().clone()));
        if let (Some(core), Ok(frame)) = (&mut self.core, frame) {
            core.up = frame;
        }
        Ok(())
    }

    fn no_core(&mut self, message: &Message, reason: &str) {
        let retry_after = limits::LINK_DOWN_RETRY_AFTER.as_secs().to_string();
        let extra = [(Name::RetryAfter, retry_after.as_bytes())];
        tracing::info!(
            tracking_id = %self.preface.tracking, client = %self.peer(), side = "link", reason,
            remedy = "look at edge-c and its log: it dials this edge", status = 503, "refused"
        );
        self.sip.metrics.sip.refusals.of(SipRefusal::NoLink).inc();
        if let Some(answer) = self.gate.answer(message, 503, &extra) {
            self.down.push_back(answer);
        }
    }

    fn take_from_core(&mut self, bytes: &[u8], now: Instant) -> Result<(), End> {
        let Some(core) = &mut self.core else {
            return Ok(());
        };
        core.decoder.push(bytes);
        loop {
            let Some(core) = &mut self.core else {
                return Ok(());
            };
            match core.decoder.next().map_err(|error| self.misread(&error))? {
                None => return Ok(()),
                Some(Frame::Message(message)) => {
                    self.moved = now;
                    self.gate.handle_message_from_core(&message);
                    let class = SipClass::of_bytes(&message);
                    self.sip
                        .metrics
                        .sip
                        .messages
                        .of(SipDirection::Down, class)
                        .inc();
                    self.down.push_back(message);
                    if self.is_leaving {
                        return Err(End::Jailed);
                    }
                }
                Some(Frame::Gate(Command::Open)) => self.gate.set_admits(Admits::Everything, now),
                Some(Frame::Gate(Command::Register)) => {
                    self.gate.set_admits(Admits::Registering, now);
                }
                Some(Frame::AuthFailed(user)) => self.auth_failed(user, now),
                Some(Frame::Close(reason)) => return Err(End::Core(reason)),
            }
        }
    }

    fn misread(&self, error: &FlowError) -> End {
        tracing::warn!(tracking_id = %self.preface.tracking, side = "link", reason = %error,
            remedy = "upgrade the older of the two edges", "a stream on the link was not understood");
        End::Link("the core sent what is no frame")
    }

    /// Phones try a wrong password several times before they say so: they hear each answer. Who goes on where the whole
    /// address is blocked has heard enough with the next one.
    fn auth_failed(&mut self, user: Option<UserTag>, now: Instant) {
        let Sip {
            admission, metrics, ..
        } = self.sip.as_ref();
        let client = self.preface.client.0.ip();
        self.is_leaving |= admission.is_blocked(client, None, now);
        front::count_wrong_credentials(admission, metrics, (client, user), "wrong SIP credentials");
    }

    fn count_answer(&self, to: Answered) {
        let keep_alives = &self.sip.metrics.sip.keep_alives;
        match to {
            Answered::Ping => {
                keep_alives.of(SipKeepAlive::Ping).inc();
            }
            Answered::Stun => {
                keep_alives.of(SipKeepAlive::Stun).inc();
            }
            Answered::Refused(refusal) => self.refused(refusal),
        }
    }

    fn refused(&self, refusal: Refusal) {
        let Some(label) = SipRefusal::of(refusal) else {
            return;
        };
        self.sip.metrics.sip.refusals.of(label).inc();
        let fault = match refusal {
            Refusal::Malformed(fault) => Some(fault),
            Refusal::Method | Refusal::NotRegistered | Refusal::OwnAck | Refusal::Stun => None,
        };
        tracing::debug!(
            tracking_id = %self.preface.tracking, client = %self.peer(), side = "downstream", reason = %label,
            fault = fault.map(tracing::field::display), "refused"
        );
    }

    /// Writes what is left and says goodbye, for a moment.
    async fn close(&mut self) {
        let (client, down) = (&mut self.client, &mut self.down);
        let closing = async {
            poll_fn(|cx| client.poll_send(cx, down)).await?;
            poll_fn(|cx| client.poll_close(cx)).await
        };
        if let Ok(Err(error)) = tokio::time::timeout(limits::SIP_CLOSE_TIMEOUT, closing).await {
            tracing::trace!(reason = %error, "the connection was gone before it was closed");
        }
        if let Some(core) = &mut self.core {
            core.sending.finish();
        }
    }

    fn peer(&self) -> Redacted<String> {
        peer_text(self.preface.client.0)
    }
}

/// The core for the first message is one that serves its domain.
async fn open(sip: &Sip, preface: &StreamPreface, message: &Message) -> Result<CoreSide, String> {
    let domain = match &preface.domain {
        Some(domain) => Some(domain.clone()),
        None => served_domain(sip, message),
    };
    let core = sip.cores.streams(domain.as_ref());
    let core = core.map_err(|_| "no core is linked for streams".to_owned())?;
    let stream = core.streams().open(preface).await;
    let (sending, receiving) = stream.map_err(|error| error.to_string())?.split();
    tracing::debug!(tracking_id = %preface.tracking, client = %peer_text(preface.client.0), core = %core.name(),
        transport = preface.transport.as_str(), "flow opened");
    Ok(CoreSide {
        sending,
        receiving,
        decoder: Decoder::new(),
        up: Bytes::new(),
    })
}

/// Writes what waits, then reads if the gate has room.
async fn client_event<C: Client>(
    client: &mut C,
    gate: &mut Gate,
    down: &mut VecDeque<Bytes>,
    is_readable: bool,
) -> io::Result<Moved> {
    let octets = |down: &VecDeque<Bytes>| down.iter().map(Bytes::len).sum::<usize>();
    let waiting = octets(down);
    poll_fn(|cx| {
        if let Poll::Ready(sent) = client.poll_send(cx, down) {
            sent?;
        }
        if octets(down) < waiting {
            return Poll::Ready(Ok(Moved::Written));
        }
        if !is_readable {
            return Poll::Pending;
        }
        let received = client.poll_receive(cx, gate, clock::now());
        received.map_ok(|is_open| if is_open { Moved::Read } else { Moved::Ended })
    })
    .await
}

async fn send(side: Option<(&mut SendHalf, &mut Bytes)>) -> bool {
    match side {
        Some((sending, up)) => sending.send_rest(up).await.is_ok(),
        None => std::future::pending().await,
    }
}

async fn receive(side: Option<&mut ReceiveHalf>) -> Option<Bytes> {
    match side {
        Some(receiving) => receiving.receive().await,
        None => std::future::pending().await,
    }
}

/// The domain of the Request-URI or of the To, if a core serves it.
fn served_domain(sip: &Sip, message: &Message) -> Option<Domain> {
    let uris = message.uri().into_iter();
    let uris = uris.chain(message.to().map(|to| to.uri()));
    let domains = uris.filter_map(|uri| match uri.to_host()? {
        Host::Name(domain) => Some(domain),
        Host::Address(_) => None,
    });
    domains
        .into_iter()
        .find(|domain| sip.cores.check_domain(domain).is_ok())
}

impl End {
    const fn label(&self) -> SipClosed {
        match self {
            Self::Client => SipClosed::Client,
            Self::Core(_) => SipClosed::Core,
            Self::Drained => SipClosed::Drained,
            Self::Failed(_) => SipClosed::Failed,
            Self::Gate(Ended::Silent) => SipClosed::Silent,
            Self::Gate(Ended::SlowHead | Ended::SlowBody) => SipClosed::SlowMessage,
            Self::Gate(Ended::Unreadable(_) | Ended::Malformed) => SipClosed::Malformed,
            Self::Jailed => SipClosed::Jailed,
            Self::Link(_) => SipClosed::Link,
            Self::Slow => SipClosed::SlowReader,
        }
    }

    const fn side(&self) -> &'static str {
        match self {
            Self::Client | Self::Failed(_) | Self::Gate(_) | Self::Jailed | Self::Slow => {
                "downstream"
            }
            Self::Core(_) | Self::Link(_) => "link",
            Self::Drained => "local",
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client => f.write_str("closed by the client"),
            Self::Core(reason) => write!(f, "closed by the core: {}", reason.as_str()),
            Self::Drained => f.write_str("drained"),
            Self::Failed(error) => error.fmt(f),
            Self::Gate(ended) => ended.fmt(f),
            Self::Jailed => f.write_str("more wrong credentials from an address that is blocked"),
            Self::Link(reason) => f.write_str(reason),
            Self::Slow => f.write_str("the client does not read"),
        }
    }
}

impl SipClass {
    fn of(message: &Message) -> Self {
        if message.is_request() {
            Self::of_method(message.method())
        } else {
            Self::Response
        }
    }

    /// By the first word alone.
    fn of_bytes(message: &[u8]) -> Self {
        let word = message
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        if word == b"SIP/2.0" {
            return Self::Response;
        }
        Self::of_method(Method::of(word))
    }

    const fn of_method(method: Method) -> Self {
        match method {
            Method::Register => Self::Register,
            Method::Options => Self::Options,
            Method::Invite => Self::Invite,
            Method::Subscribe | Method::Notify | Method::Publish => Self::Event,
            Method::Message => Self::Message,
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Info
            | Method::Prack
            | Method::Refer
            | Method::Update
            | Method::Service
            | Method::Other => Self::Other,
        }
    }
}

impl SipRefusal {
    /// `None` for what is swallowed in the course of things.
    const fn of(refusal: Refusal) -> Option<Self> {
        match refusal {
            Refusal::Malformed(_) => Some(Self::Malformed),
            Refusal::Method => Some(Self::Method),
            Refusal::NotRegistered => Some(Self::NotRegistered),
            Refusal::OwnAck => None,
            Refusal::Stun => Some(Self::Stun),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
