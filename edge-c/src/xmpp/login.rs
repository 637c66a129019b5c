//! One client from its first byte to authentication: the machine of `common::xmpp::login` with its two connections, the
//! nodes it may use and the gate. Everything in here is gone before a stream is long.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use common::limits;
use common::link::flow::FlowClose;
use common::link::stream_preface::StreamPreface;
use common::net::Domain;
use common::runtime::clock;
use common::time::UnixTime;
use common::xmpp::NS_SASL;
use common::xmpp::error::Condition;
use common::xmpp::features::Offer;
use common::xmpp::login::{Login, Output, Policy};
use common::xmpp::sasl::Attempt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::{Client, ClientLost};
use super::metrics::{SignInOutcome, StreamState};
use super::streams::Stream;
use super::{Counted, Shared};
use crate::upstream::xmpp::table::Served;
use crate::upstream::xmpp::{Node, NodeStream, Proxied, connect};
use ending::End;

mod asking;
mod ending;

/// A client that is in.
pub(super) struct SignedIn {
    pub(super) client: Client,
    pub(super) connection: NodeStream,
    pub(super) node: Arc<Node>,
    pub(super) domain: Domain,
    pub(super) attempt: Attempt,
    /// Until when a token lets the user stay, if no HTTPS session has let the user try.
    pub(super) token_ends: Option<UnixTime>,
    pub(super) to_node: Bytes,
}

/// Relays until the client is in. `None` if it did not come to that; everybody has been told then.
pub(super) async fn sign_in(
    shared: &Shared,
    stream: &Stream,
    preface: &StreamPreface,
    client: Client,
    id: String,
) -> Option<SignedIn> {
    let mut relay = Relay::new(shared, preface, client, id);
    let driving = tokio::time::timeout(limits::XMPP_LOGIN_TIMEOUT, relay.drive());
    let ended = tokio::select! {
        ended = driving => ended.unwrap_or_else(|_| End::of(SignInOutcome::TimedOut, Condition::ConnectionTimeout)),
        stop = stream.stopped() => End { outcome: SignInOutcome::Refused, close: Some((stop.condition(), stop.close())), is_told: false },
    };
    relay.finish(ended).await
}

struct Relay<'a> {
    shared: &'a Shared,
    preface: &'a StreamPreface,
    client: Client,
    id: String,
    login: Login,
    served: Option<(Domain, Arc<Served>)>,
    candidates: VecDeque<Arc<Node>>,
    node: Option<(Arc<Node>, NodeStream)>,
    /// The connection that stands was reached because a node said so.
    was_sent: bool,
    is_denied: bool,
    token_ends: Option<UnixTime>,
    spliced: Option<(Attempt, Bytes)>,
    counted: Option<Counted>,
}

impl<'a> Relay<'a> {
    fn new(shared: &'a Shared, preface: &'a StreamPreface, client: Client, id: String) -> Self {
        Self {
            shared,
            preface,
            client,
            login: Login::new(id.clone()),
            id,
            served: None,
            candidates: VecDeque::new(),
            node: None,
            was_sent: false,
            is_denied: false,
            token_ends: None,
            spliced: None,
            counted: None,
        }
    }

    /// Ends when the client is in, which [`Self::spliced`] says, or when it is all over.
    async fn drive(&mut self) -> End {
        let mut buffer = BytesMut::with_capacity(limits::XMPP_READ_BYTES);
        loop {
            match self.work_off().await {
                Ok(false) => {}
                Ok(true) => return End::told(SignInOutcome::Ok, FlowClose::Ended),
                Err(end) => return end,
            }
            // Both are cancel safe: what was not returned was not taken.
            tokio::select! {
                received = self.client.receive() => match received {
                    Ok(bytes) => {
                        let table = self.shared.table.load();
                        self.login.handle_client(&bytes, |domain| table.domain(domain).is_some());
                    }
                    Err(lost) => return lost.into(),
                },
                read = read(&mut self.node, &mut buffer) => {
                    if matches!(read, Ok(1..)) {
                        self.login.handle_node(&buffer);
                        buffer.clear();
                    } else {
                        self.lose_node().await;
                    }
                }
            }
        }
    }

    /// Does what the machine asks for. `true` if the client is in.
    async fn work_off(&mut self) -> Result<bool, End> {
        while let Some(output) = self.login.poll_output() {
            match output {
                Output::ToClient(bytes) => {
                    self.note_failure(&bytes);
                    self.client.send(&bytes).await?;
                }
                Output::ToNode(bytes) => self.send_to_node(&bytes).await,
                Output::Failed(attempt) => self.tell_guess(&attempt).await?,
                Output::Connect(domain) => self.begin(domain).await,
                Output::NextNode(reason) => self.next_node(&reason).await,
                Output::Redirect(hint) => self.redirect(&hint).await,
                Output::Offered(offer) => self.consider(&offer).await,
                Output::Ask(attempt) => self.ask(&attempt).await,
                Output::Splice {
                    attempt,
                    to_node,
                    to_client,
                } => {
                    self.let_in(&attempt, &to_client).await?;
                    self.spliced = Some((attempt, to_node));
                    return Ok(true);
                }
                Output::Close(ending) => return Err(self.ended(&ending)),
            }
        }
        Ok(false)
    }

    async fn let_in(&mut self, attempt: &Attempt, to_client: &[u8]) -> Result<(), ClientLost> {
        self.client.let_in().await?;
        // RFC 6120 section 6.4.6; with SASL2 the stream goes on.
        if attempt.profile == NS_SASL {
            self.client.restart();
        }
        if to_client.is_empty() {
            return Ok(());
        }
        self.client.send(to_client).await
    }

    async fn begin(&mut self, domain: Domain) {
        self.shared.first_look_up().await;
        let table = self.shared.table.load();
        let Some(served) = table.domain(&domain).cloned() else {
            return self.login.close(Condition::HostUnknown);
        };
        self.login.treat(Policy {
            features: served.features,
        });
        self.candidates = served.candidates(self.preface.client.0.ip()).into();
        self.counted = Some(Counted::new(
            &self.shared.metrics,
            &domain,
            StreamState::Login,
        ));
        self.served = Some((domain, served));
        self.connect().await;
    }

    /// Connects to the first candidate that can be reached.
    async fn connect(&mut self) {
        self.node = None;
        let Some((domain, _)) = &self.served else {
            return;
        };
        let proxied = Proxied {
            client: self.preface.client.0,
            local: self.preface.local,
        };
        while let Some(node) = self.candidates.pop_front() {
            let connecting = connect(&node, domain, Some(proxied), self.shared.dialling);
            match Box::pin(connecting).await {
                Ok(stream) => {
                    self.shared.note_success(&node);
                    self.node = Some((node, stream));
                    return self.login.handle_connected();
                }
                Err(error) => self.shared.note_failure(&node, domain, &error.into()),
            }
        }
        self.login.close(Condition::RemoteConnectionFailed);
    }

    async fn next_node(&mut self, reason: &str) {
        if let Some((node, _)) = &self.node {
            tracing::info!(side = "upstream", tracking_id = %self.preface.tracking, node = %node.place, reason,
                remedy = "look at the node", "the next XMPP node is tried");
        }
        self.connect().await;
    }

    async fn lose_node(&mut self) {
        let lost = self.node.take();
        if self.login.handle_node_lost() {
            if let (Some((node, _)), Some((domain, _))) = (lost, &self.served) {
                let reason = "the connection ended before it offered anything".to_owned();
                let error = crate::upstream::xmpp::probe::ProbeError::Closed(reason);
                self.shared.note_failure(&node, domain, &error);
            }
            self.connect().await;
        }
    }

    async fn redirect(&mut self, hint: &str) {
        let meant = self
            .served
            .as_ref()
            .and_then(|(_, served)| served.meant(hint))
            .cloned();
        match meant {
            Some(node) => {
                // This one has said that it doesn't serve the stream.
                self.node = None;
                self.move_to(node, true).await;
            }
            None => {
                // Nobody is sent anywhere but to a node that the configuration or DNS names.
                tracing::warn!(side = "upstream", tracking_id = %self.preface.tracking, hint,
                    reason = "a node points at one that is not known",
                    remedy = "add it to nodes of [[xmpp.domain]], or to its SRV records", "XMPP stream refused");
                self.login.close(Condition::RemoteConnectionFailed);
            }
        }
    }

    async fn move_to(&mut self, node: Arc<Node>, was_sent: bool) {
        self.shared.metrics.moves.inc();
        self.was_sent |= was_sent;
        self.candidates.retain(|other| !Arc::ptr_eq(other, &node));
        if let Some((current, _)) = &self.node {
            // Still better than none.
            self.candidates.push_back(Arc::clone(current));
        }
        self.candidates.push_front(node);
        self.connect().await;
    }

    /// What a node offers: home and backup node may be named in it.
    async fn consider(&mut self, offer: &Offer) {
        let (Some((current, _)), Some((_, served))) = (&self.node, &self.served) else {
            return;
        };
        self.shared.note_offer(current, offer);
        let hinted = offer.nodes.iter().filter_map(|hint| served.meant(hint));
        let home = hinted.into_iter().find(|node| node.health.is_up()).cloned();
        let elsewhere = home.filter(|home| !Arc::ptr_eq(home, current));
        match elsewhere {
            Some(home) if self.login.leave() => self.move_to(home, true).await,
            Some(_) | None => self.login.stay(),
        }
    }

    async fn send_to_node(&mut self, bytes: &[u8]) {
        let Some((_, stream)) = &mut self.node else {
            return;
        };
        let sent = match stream.write_all(bytes).await {
            Ok(()) => stream.flush().await,
            Err(error) => Err(error),
        };
        if sent.is_err() {
            self.lose_node().await;
        }
    }

    async fn finish(self, end: End) -> Option<SignedIn> {
        self.shared.metrics.sign_ins.of(end.outcome).inc();
        let (Some((attempt, to_node)), Some((node, connection)), Some((domain, _))) =
            (self.spliced, self.node, self.served)
        else {
            match end.close {
                Some((_, close)) if end.is_told => self.client.close(close).await,
                Some((condition, close)) => {
                    self.client.close_with(condition, close, &self.id).await;
                }
                None => {}
            }
            return None;
        };
        if let Some(user) = &attempt.user {
            let kept = if self.was_sent {
                limits::XMPP_HOME_KEPT
            } else {
                limits::XMPP_LAST_NODE_KEPT
            };
            let now = clock::unix_now();
            self.shared
                .homes
                .note(user, &domain, &node.place, kept, now);
        }
        Some(SignedIn {
            client: self.client,
            connection,
            node,
            domain,
            attempt,
            token_ends: self.token_ends,
            to_node,
        })
    }
}

/// Reads what the node says, if there is one. Cancel safe.
async fn read(
    node: &mut Option<(Arc<Node>, NodeStream)>,
    buffer: &mut BytesMut,
) -> io::Result<usize> {
    match node {
        Some((_, stream)) => stream.read_buf(buffer).await,
        None => std::future::pending().await,
    }
}
