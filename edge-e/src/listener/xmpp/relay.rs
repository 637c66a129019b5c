//! One client and its stream to a core, driven together by one task. Both directions go on by themselves: what waits for
//! the core stops the reading of the client, and what waits for the client stops the reading of the core.
//!
//! Most clients say nothing most of the time: what only a login needs is gone after it, and no buffer waits for octets.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use common::id::TrackingId;
use common::limits;
use common::link::flow::{self as frames, Decoder, FlowClose, FlowError, Frame, Gate};
use common::link::stream_preface::StreamPreface;
use common::policy::jail::UserTag;
use common::runtime::clock;
use common::runtime::drain::Signal;
use common::runtime::link_streams::{LinkStream, ReceiveHalf, SendHalf};
use common::xmpp::boundaries::{Boundaries, Place};
use common::xmpp::error::{Condition, stream_error};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Sleep;

use super::client::Client;
use super::places;
use super::{Xmpp, entrance};
use crate::listener::front::{self, peer_text};
use crate::metrics::xmpp::{XmppClosed, XmppDirection, XmppState};

/// A client's connection and its stream.
pub(crate) struct Relay<C> {
    xmpp: Arc<Xmpp>,
    client: C,
    sending: SendHalf,
    receiving: ReceiveHalf,
    decoder: Decoder,
    /// What waits to be sent to the core.
    up: Bytes,
    /// What waits to be written to the client.
    down: Bytes,
    is_flushed: bool,
    /// Where the words of the core are, to put an end behind them.
    said: Said,
    /// The next words of the core are the last.
    is_leaving: bool,
    /// Until the client is authenticated.
    login: Option<Box<Login>>,
    counted: Counted,
    peer: std::net::IpAddr,
    tracking: TrackingId,
    start: Instant,
}

/// What the client has heard of the core.
#[derive(Debug, Default)]
struct Said {
    boundaries: Boundaries,
    is_anything: bool,
}

impl Said {
    fn follow(&mut self, words: &[u8]) {
        self.is_anything = true;
        self.boundaries.advance_all(words);
    }

    /// The end of the stream, if one may be put here.
    fn end(&self, condition: Condition) -> Option<String> {
        match self.boundaries.place() {
            Place::Between => Some(stream_error(condition)),
            Place::Outside if !self.is_anything => {
                Some(entrance::error_text(condition, &super::stream_id()))
            }
            Place::Outside | Place::Within => None,
        }
    }
}

/// What holds before authentication.
pub(super) struct Login {
    deadline: Pin<Box<Sleep>>,
    octets_left: usize,
    _place: places::Place,
}

impl Login {
    pub(super) fn new(deadline: Instant, place: places::Place) -> Box<Self> {
        Box::new(Self {
            deadline: Box::pin(tokio::time::sleep_until(deadline.into())),
            octets_left: limits::XMPP_LOGIN_BYTES_MAX,
            _place: place,
        })
    }
}

/// A client that counts in a gauge until this is dropped.
struct Counted(Gauge);

impl Counted {
    fn of(xmpp: &Xmpp, state: XmppState) -> Self {
        let gauge = xmpp.metrics.xmpp.clients.of(state).clone();
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Why a stream ended.
enum End {
    Client,
    Core(FlowClose),
    Drained,
    Failed(io::Error),
    Jailed,
    Link(&'static str),
    TimedOut,
    TooMuch,
}

impl<C: Client> Relay<C> {
    pub(super) fn new(
        xmpp: Arc<Xmpp>,
        client: C,
        stream: LinkStream,
        preface: &StreamPreface,
        login: Box<Login>,
        head: &[u8],
    ) -> Self {
        let (sending, receiving) = stream.split();
        let counted = Counted::of(&xmpp, XmppState::Authenticating);
        let mut relay = Self {
            xmpp,
            client,
            sending,
            receiving,
            decoder: Decoder::new(),
            up: Bytes::new(),
            down: Bytes::new(),
            is_flushed: true,
            said: Said::default(),
            is_leaving: false,
            login: Some(login),
            counted,
            peer: preface.client.0.ip(),
            tracking: preface.tracking,
            start: clock::now(),
        };
        if !head.is_empty() {
            relay.take_from_client(head);
        }
        relay
    }

    /// Until either side ends.
    pub(super) async fn run(mut self, drain: Signal) {
        let end = tokio::select! {
            end = poll_fn(|cx| self.poll(cx)) => end,
            () = drain.draining() => Box::pin(self.leave()).await,
        };
        Box::pin(self.close(&end)).await;
    }

    /// Goes on for a while of its own, so that clients do not come back all at once.
    async fn leave(&mut self) -> End {
        let spread = u64::try_from(limits::XMPP_DRAIN_SPREAD.as_millis()).unwrap_or(u64::MAX);
        let wait = u64::from_be_bytes(front::random()) % spread.max(1);
        let relaying = poll_fn(|cx| self.poll(cx));
        let waited = tokio::time::timeout(Duration::from_millis(wait), relaying).await;
        waited.unwrap_or(End::Drained)
    }

    /// Moves whatever can be moved.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(login) = &mut self.login
            && login.deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(End::TimedOut);
        }
        // The core's words first: the last of them may be why it closes.
        match (self.poll_down(cx), self.poll_up(cx)) {
            (Poll::Ready(end), _) | (Poll::Pending, Poll::Ready(end)) => Poll::Ready(end),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        }
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if !self.down.is_empty() {
                self.is_flushed = false;
                match self.client.poll_send(cx, &mut self.down) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => self.down = Bytes::new(),
                    Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                }
            }
            match self.decoder.next() {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    if let Err(end) = self.take_from_core(frame) {
                        return Poll::Ready(end);
                    }
                    continue;
                }
                Err(error) => return Poll::Ready(self.misread(&error)),
            }
            match self.receiving.poll_receive(cx) {
                Poll::Ready(Some(bytes)) => self.decoder.push(&bytes),
                Poll::Ready(None) => {
                    return Poll::Ready(End::Link("the stream to the core has ended"));
                }
                Poll::Pending => break,
            }
        }
        if !self.is_flushed {
            match self.client.poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.is_flushed = true,
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
            }
        }
        Poll::Pending
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            match self.sending.poll_send_rest(cx, &mut self.up) {
                Poll::Pending => return Poll::Pending,
                // The place it had goes with it.
                Poll::Ready(Ok(())) => self.up = Bytes::new(),
                Poll::Ready(Err(_)) => {
                    return Poll::Ready(End::Link("the stream to the core is gone"));
                }
            }
            let mut up = BytesMut::new();
            let received = self
                .client
                .poll_receive(cx, &mut |said| encode(said, &mut up));
            match received {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(true)) => {
                    let len = up.len();
                    self.up = up.freeze();
                    if !self.count_up(len) {
                        return Poll::Ready(End::TooMuch);
                    }
                }
                Poll::Ready(Ok(false)) => return Poll::Ready(End::Client),
                // Many clients leave without TLS's goodbye; XMPP has its own.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(End::Client);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
            }
        }
    }

    fn take_from_client(&mut self, said: &[u8]) {
        let mut up = BytesMut::new();
        encode(said, &mut up);
        self.count_up(up.len());
        self.up = up.freeze();
    }

    /// `false` if that is more than anybody needs before authentication.
    fn count_up(&mut self, len: usize) -> bool {
        let bytes = &self.xmpp.metrics.xmpp.bytes;
        bytes.of(XmppDirection::Up).inc_by(len as u64);
        let Some(login) = &mut self.login else {
            return true;
        };
        match login.octets_left.checked_sub(len) {
            None => false,
            Some(left) => {
                login.octets_left = left;
                true
            }
        }
    }

    fn take_from_core(&mut self, frame: Frame) -> Result<(), End> {
        match frame {
            Frame::Message(message) => {
                let bytes = &self.xmpp.metrics.xmpp.bytes;
                bytes.of(XmppDirection::Down).inc_by(message.len() as u64);
                if C::IS_OCTETS {
                    self.said.follow(&message);
                }
                self.down = message;
                if self.is_leaving {
                    return Err(End::Jailed);
                }
            }
            Frame::Gate(Gate::Open) => {
                if self.login.take().is_some() {
                    self.counted = Counted::of(&self.xmpp, XmppState::Open);
                }
            }
            // Nobody takes an authentication back but by closing.
            Frame::Gate(Gate::Register) => {}
            Frame::AuthFailed(user) => self.auth_failed(user),
            Frame::Close(reason) => return Err(End::Core(reason)),
        }
        Ok(())
    }

    fn misread(&self, error: &FlowError) -> End {
        tracing::warn!(tracking_id = %self.tracking, side = "link", reason = %error,
            remedy = "upgrade the older of the two edges", "a stream on the link was not understood");
        End::Link("the core sent what is no frame")
    }

    /// Who is blocked by this hears the answer, and nothing after it.
    fn auth_failed(&mut self, user: Option<UserTag>) {
        let Xmpp {
            admission, metrics, ..
        } = self.xmpp.as_ref();
        let is_blocked = |user| admission.is_blocked(self.peer, user, clock::now());
        let was_blocked = is_blocked(user);
        let who = (self.peer, user);
        front::count_wrong_credentials(admission, metrics, who, "wrong XMPP credentials");
        self.is_leaving |= was_blocked || user.is_some() && is_blocked(user);
    }

    /// Writes what is left and says goodbye, for a moment.
    async fn close(mut self, end: &End) {
        self.xmpp.metrics.xmpp.closed.of(end.label()).inc();
        let ending = end.condition().filter(|_| C::IS_OCTETS);
        let ending = ending.and_then(|condition| self.said.end(condition));
        let mut ending = Bytes::from(ending.unwrap_or_default());
        let (client, down) = (&mut self.client, &mut self.down);
        let closing = async {
            poll_fn(|cx| client.poll_send(cx, down)).await?;
            poll_fn(|cx| client.poll_send(cx, &mut ending)).await?;
            poll_fn(|cx| client.poll_flush(cx)).await?;
            poll_fn(|cx| client.poll_close(cx)).await
        };
        if let Ok(Err(error)) = tokio::time::timeout(limits::XMPP_CLOSE_TIMEOUT, closing).await {
            tracing::trace!(reason = %error, "the client was gone before it was told goodbye");
        }
        self.sending.finish();
        tracing::debug!(
            tracking_id = %self.tracking, client = %peer_text((self.peer, 0).into()), side = end.side(), reason = %end,
            is_authenticated = self.login.is_none(),
            duration_ms = clock::elapsed(self.start).as_millis(), "stream ended"
        );
    }
}

/// In frames of at most [`limits::XMPP_PIECE_BYTES`].
fn encode(said: &[u8], up: &mut BytesMut) {
    for piece in said.chunks(limits::FLOW_MESSAGE_BYTES_MAX) {
        if let Err(error) = frames::encode_message(piece, up) {
            // A chunk is neither empty nor longer than a frame.
            tracing::error!(side = "local", reason = %error, "octets of a client were lost");
        }
    }
}

impl End {
    const fn label(&self) -> XmppClosed {
        match self {
            Self::Client => XmppClosed::Client,
            Self::Core(_) => XmppClosed::Core,
            Self::Drained => XmppClosed::Drained,
            Self::Failed(_) => XmppClosed::Failed,
            Self::Jailed => XmppClosed::Jailed,
            Self::Link(_) => XmppClosed::Link,
            Self::TimedOut => XmppClosed::TimedOut,
            Self::TooMuch => XmppClosed::TooMuch,
        }
    }

    /// What the client is told, where edge-c has not told it.
    const fn condition(&self) -> Option<Condition> {
        match self {
            Self::Client | Self::Core(_) | Self::Failed(_) => None,
            Self::Drained => Some(Condition::SystemShutdown),
            Self::Link(_) => Some(Condition::RemoteConnectionFailed),
            Self::TimedOut => Some(Condition::ConnectionTimeout),
            Self::Jailed | Self::TooMuch => Some(Condition::PolicyViolation),
        }
    }

    const fn side(&self) -> &'static str {
        match self {
            Self::Client | Self::Failed(_) | Self::Jailed | Self::TimedOut | Self::TooMuch => {
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
            Self::Jailed => f.write_str("too many wrong credentials of this user from there"),
            Self::Link(reason) => f.write_str(reason),
            Self::TimedOut => f.write_str("authentication took too long"),
            Self::TooMuch => f.write_str("more octets than an authentication needs"),
        }
    }
}
