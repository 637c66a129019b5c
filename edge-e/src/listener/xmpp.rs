//! Public XMPP on 5222 and 5223: TLS by STARTTLS or from the first byte, the domain that the client names, and a stream to
//! a core that serves it. From then on octets are passed on unread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use common::id::TrackingId;
use common::limits;
use common::link::stream_preface::{ClientTransport, StreamPreface, StreamProtocol, TlsVersion};
use common::net::{ClientAddr, Domain};
use common::runtime::drain::Signal;
use common::runtime::lean_tls::{Agreed, LeanTls};
use common::runtime::link_streams::LinkStream;
use common::runtime::{clock, listen};
use common::telemetry::HandshakeOutcome;
use rustls::ProtocolVersion;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::admission::Admission;
use crate::config;
use crate::cores::{Core, Cores};
use crate::listener::front::{self, Arrived, Front, peer_text};
use crate::metrics::xmpp::{XmppRefusal, XmppState, XmppTransport};
use crate::metrics::{Listener, Metrics};

pub(crate) mod client;
mod entrance;
mod passthrough;
mod places;
mod relay;

use entrance::Refused;
use passthrough::Unread;
use places::{NoPlace, Place, Places};
use relay::{Login, Relay};

/// What every XMPP client shares, whatever it arrived on.
#[derive(Debug)]
pub struct Xmpp {
    cores: Arc<Cores>,
    admission: Arc<Admission>,
    metrics: Metrics,
    settings: config::Xmpp,
    tls: rustls::ServerConfig,
    places: Arc<Places>,
}

/// A client over TCP.
#[expect(
    clippy::large_enum_variant,
    reason = "handed on at once; a box would last as long as the client"
)]
enum Caller {
    /// TLS ends here.
    Heard(LeanTls<TcpStream>),
    /// TLS ends at edge-c.
    Unread(TcpStream),
}

/// A client over TCP with its stream.
#[expect(
    clippy::large_enum_variant,
    reason = "handed on at once; a box would last as long as the client"
)]
enum Joined {
    Heard(Relay<LeanTls<TcpStream>>),
    Unread(Relay<Unread>),
}

/// A client that is let in to a core.
struct Entered {
    client: Caller,
    core: Arc<Core>,
    preface: Box<StreamPreface>,
    /// What the client has said already, for the core.
    head: Vec<u8>,
    transport: XmppTransport,
}

impl Xmpp {
    /// Nobody is there yet. `tls` has the public certificates; ALPN is set here.
    #[must_use]
    pub fn new(
        cores: Arc<Cores>,
        admission: Arc<Admission>,
        metrics: Metrics,
        settings: config::Xmpp,
        tls: &rustls::ServerConfig,
    ) -> Self {
        let mut tls = tls.clone();
        // XEP-0368 section 5. Who offers no protocol is let in, who offers others is not.
        tls.alpn_protocols = vec![b"xmpp-client".to_vec()];
        let places = Places::new(
            settings.unauthenticated_max,
            settings.unauthenticated_per_address_max,
        );
        Self {
            cores,
            admission,
            metrics,
            settings,
            tls,
            places,
        }
    }

    /// Accepts until the drain starts.
    pub(crate) async fn serve(self: Arc<Self>, front: Front, listener: TcpListener, drain: Signal) {
        let speak = move |arrived: Arrived| {
            let xmpp = Arc::clone(&self);
            async move {
                // Everything that only the way in needs is gone before the stream begins.
                let drain = arrived.drain.clone();
                match Box::pin(xmpp.enter(arrived)).await {
                    Some(Joined::Heard(relay)) => relay.run(drain).await,
                    Some(Joined::Unread(relay)) => relay.run(drain).await,
                    None => {}
                }
            }
        };
        front.accept(listener, drain, speak).await;
    }

    /// From a connection to a stream.
    async fn enter(self: Arc<Self>, arrived: Arrived) -> Option<Joined> {
        let peer = arrived.peer;
        let place = self.place(peer)?;
        let deadline = clock::now() + self.settings.login_timeout;
        let opening = self.metrics.xmpp.clients.of(XmppState::Opening).clone();
        opening.inc();
        let work = async {
            let entered = self.approach(arrived).await?;
            self.open(entered, deadline, place).await
        };
        let entered = tokio::time::timeout_at(deadline.into(), work).await;
        opening.dec();
        match entered.unwrap_or(Err(Refused::TimedOut)) {
            Ok(relay) => Some(relay),
            Err(refused) => {
                self.tell_refused(peer, &refused);
                None
            }
        }
    }

    pub(crate) const fn cores(&self) -> &Arc<Cores> {
        &self.cores
    }

    /// Web pages that may open a WebSocket.
    pub(crate) fn origins(&self) -> &[config::Origin] {
        &self.settings.websocket_origins
    }

    pub(crate) fn count_refusal(&self, refusal: XmppRefusal) {
        self.metrics.xmpp.refusals.of(refusal).inc();
    }

    /// A client in a web page (RFC 7395): each message of it is a frame.
    pub(crate) async fn websocket<C: client::Client>(
        self: Arc<Self>,
        client: C,
        domain: &Domain,
        preface: &StreamPreface,
        drain: Signal,
    ) {
        let peer = preface.client.0;
        let Some(place) = self.place(peer) else {
            return;
        };
        let deadline = clock::now() + self.settings.login_timeout;
        let stream = match self.cores.xmpp_streams(domain) {
            Ok(core) => self.stream(&core, preface, XmppTransport::Wss).await,
            Err(missing) => Err(missing.into()),
        };
        let login = Login::new(deadline, place);
        match stream {
            Ok(stream) => {
                let relay = Relay::new(self, client, stream, preface, login, &[]);
                relay.run(drain).await;
            }
            Err(refused) => self.tell_refused(peer, &refused),
        }
    }

    fn place(&self, peer: SocketAddr) -> Option<Place> {
        let taken = self.places.take(peer.ip());
        let refusal = match taken {
            Ok(place) => return Some(place),
            Err(NoPlace::OfAddress) => XmppRefusal::OverAddress,
            Err(NoPlace::InAll) => XmppRefusal::OverTotal,
        };
        self.metrics.xmpp.refusals.of(refusal).inc();
        tracing::info!(side = "downstream", client = %peer_text(peer), reason = %refusal,
            remedy = "raise unauthenticated_max or unauthenticated_per_address_max in [xmpp] if these are your users",
            "connection refused");
        None
    }

    /// To TLS, and on to what says where the client wants to go.
    async fn approach(&self, arrived: Arrived) -> Result<Entered, Refused> {
        let Arrived {
            mut stream,
            peer,
            local,
            ..
        } = arrived;
        listen::configure_quiet(&stream)?;
        let is_served = |domain: &Domain| self.cores.check_xmpp_domain(domain).is_ok();
        let (transport, named) = if entrance::begins_with_tls(&stream).await? {
            (XmppTransport::Direct, None)
        } else {
            let named = entrance::start_tls(&mut stream, stream_id(), is_served).await?;
            (XmppTransport::StartTls, named)
        };
        if self.settings.is_passthrough {
            return self.pass(stream, (peer, local), transport, named).await;
        }
        let (mut client, agreed) = self.handshake(stream).await?;
        let (domain, head) = match entrance::header(&mut client).await {
            Ok(found) => found,
            Err(refused) => return Err(turn_away(client, refused).await),
        };
        let core = match self.cores.xmpp_streams(&domain) {
            Ok(core) => core,
            Err(missing) => return Err(turn_away(client, missing.into()).await),
        };
        let preface = StreamPreface {
            server_name: agreed
                .server_name
                .and_then(|name| Domain::parse(&name).ok()),
            tls_version: match agreed.version {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
                Some(_) | None => TlsVersion::V1_3,
            },
            ..preface(StreamProtocol::Xmpp, (peer, local), domain)
        };
        Ok(Entered {
            client: Caller::Heard(client),
            core,
            preface: Box::new(preface),
            head,
            transport,
        })
    }

    async fn handshake(&self, stream: TcpStream) -> Result<(LeanTls<TcpStream>, Agreed), Refused> {
        let accepting = common::runtime::lean_tls::accept(stream, &self.tls);
        let accepting = tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, accepting);
        let handshake = accepting
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let outcome = HandshakeOutcome::of(&handshake);
        self.metrics.handshakes.of(Listener::Xmpp, outcome).inc();
        handshake.map_err(Refused::Tls)
    }

    /// The stream to the core.
    async fn open(
        self: &Arc<Self>,
        entered: Entered,
        deadline: Instant,
        place: Place,
    ) -> Result<Joined, Refused> {
        let Entered {
            client,
            core,
            preface,
            head,
            transport,
        } = entered;
        let stream = match self.stream(&core, &preface, transport).await {
            Ok(stream) => stream,
            Err(refused) => {
                return Err(match client {
                    Caller::Heard(client) => turn_away(client, refused).await,
                    Caller::Unread(client) => passthrough::turn_away(client, refused).await,
                });
            }
        };
        let (xmpp, login) = (Arc::clone(self), Login::new(deadline, place));
        Ok(match client {
            Caller::Heard(client) => {
                Joined::Heard(Relay::new(xmpp, client, stream, &preface, login, &head))
            }
            Caller::Unread(client) => {
                let client = Unread(client);
                Joined::Unread(Relay::new(xmpp, client, stream, &preface, login, &head))
            }
        })
    }

    async fn stream(
        &self,
        core: &Core,
        preface: &StreamPreface,
        transport: XmppTransport,
    ) -> Result<LinkStream, Refused> {
        let stream = core.streams().open(preface).await;
        let stream = stream.map_err(|error| Refused::Link(error.to_string()))?;
        tracing::debug!(tracking_id = %preface.tracking, client = %peer_text(preface.client.0), core = %core.name(),
            transport = %transport, "stream opened");
        self.metrics.xmpp.streams.of(transport).inc();
        Ok(stream)
    }

    fn tell_refused(&self, peer: SocketAddr, refused: &Refused) {
        if let Some(label) = refused.label() {
            self.metrics.xmpp.refusals.of(label).inc();
        }
        let client = peer_text(peer);
        match refused {
            Refused::Link(_) => {
                tracing::info!(side = "link", %client, reason = %refused,
                    remedy = "look at edge-c and its log: it dials this edge", "XMPP client refused");
            }
            Refused::UnknownDomain => {
                tracing::info!(side = "downstream", %client, reason = %refused,
                    remedy = "add it to [[xmpp.domain]] of edge-c if it is yours", "XMPP client refused");
            }
            Refused::Stream(_) | Refused::TimedOut | Refused::Tls(_) | Refused::Gone(_) => {
                tracing::debug!(side = "downstream", %client, reason = %refused, "XMPP client refused");
            }
        }
    }
}

/// Tells a client within TLS why it is not let in; it has not heard a word of a stream yet.
async fn turn_away(mut client: LeanTls<TcpStream>, refused: Refused) -> Refused {
    let Some(condition) = refused.condition() else {
        return refused;
    };
    let text = entrance::error_text(condition, &stream_id());
    let telling = async {
        client.write_all(text.as_bytes()).await?;
        client.shutdown().await
    };
    if let Ok(Err(error)) = tokio::time::timeout(limits::XMPP_CLOSE_TIMEOUT, telling).await {
        tracing::trace!(reason = %error, "the client was gone before it was told");
    }
    refused
}

/// What is said of every client over TCP from `peer` to `local`.
fn preface(
    protocol: StreamProtocol,
    (peer, local): (SocketAddr, SocketAddr),
    domain: Domain,
) -> StreamPreface {
    StreamPreface {
        protocol,
        transport: ClientTransport::Tls,
        client: ClientAddr(peer),
        local,
        server_name: None,
        tls_version: TlsVersion::V1_3,
        domain: Some(domain),
        tracking: TrackingId::new(front::random()),
    }
}

/// Of a stream of this edge's own: fresh and random, of characters that need no escaping.
fn stream_id() -> String {
    TrackingId::new(front::random()).to_string()
}

impl From<crate::cores::NoRoute> for Refused {
    fn from(missing: crate::cores::NoRoute) -> Self {
        match missing {
            crate::cores::NoRoute::DomainUnknown => Self::UnknownDomain,
            crate::cores::NoRoute::LinkDown | crate::cores::NoRoute::SessionLost => {
                Self::Link("no core that serves the domain is linked".to_owned())
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
