//! Asks a node as a client would, as far as its feature list: TCP, TLS, name and domain are right if that comes.

use bytes::BytesMut;
use common::limits;
use common::net::Domain;
use common::xmpp::features::{Offer, is_features, offer};
use common::xmpp::framing::{Framer, FramingError, Item};
use common::xmpp::login::condition_name;
use common::xmpp::node_opening::header;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{ConnectError, Dialling, Node, connect};

/// Why a node does not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The node closed it.
    #[error("the node closed the stream: {0}")]
    Closed(String),
    /// Not an XMPP stream.
    #[error("the node does not speak XMPP: {0}")]
    Framing(#[from] FramingError),
    /// It took too long.
    #[error("the node did not say in time what it offers")]
    Silent,
}

impl ProbeError {
    /// What an operator does about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Connect(ConnectError::Dial(crate::dial::DialError::Certificate(_))) => {
                "look at the node's certificate, and at certificate_names and trust_anchors"
            }
            Self::Connect(_) => "look at the node and the network to it",
            Self::Closed(_) => "does the node serve the domain?",
            Self::Framing(_) => "is it the port for clients?",
            Self::Silent => "look at the node's load",
        }
    }
}

/// What the node offers to clients of `domain`.
///
/// # Errors
/// [`ProbeError`].
pub async fn probe(node: &Node, domain: &Domain, dialling: Dialling) -> Result<Offer, ProbeError> {
    let asking = Box::pin(ask(node, domain, dialling));
    let asked = tokio::time::timeout(limits::XMPP_PROBE_TIMEOUT, asking).await;
    asked.map_err(|_| ProbeError::Silent)?
}

async fn ask(node: &Node, domain: &Domain, dialling: Dialling) -> Result<Offer, ProbeError> {
    let broken = |error: std::io::Error| ProbeError::Connect(error.into());
    let mut stream = connect(node, domain, None, dialling).await?;
    let sent = stream.write_all(header(domain).as_bytes()).await;
    sent.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut framer = Framer::new(limits::XMPP_FEATURES_BYTES_MAX);
    let mut buffer = BytesMut::with_capacity(limits::XMPP_READ_BYTES);
    loop {
        while let Some(item) = framer.next_item()? {
            match item {
                Item::Element { element, .. } if is_features(&element) => {
                    // Nodes log streams that end without a word.
                    if stream.write_all(b"</stream:stream>").await.is_ok() {
                        drop(stream.shutdown().await);
                    }
                    return Ok(offer(&element));
                }
                Item::Element { element, .. } => {
                    return Err(ProbeError::Closed(condition_name(&element)));
                }
                Item::Close { .. } => return Err(ProbeError::Closed("no reason given".to_owned())),
                Item::Open { .. } => {}
            }
        }
        buffer.clear();
        if stream.read_buf(&mut buffer).await.map_err(broken)? == 0 {
            return Err(ProbeError::Closed("the connection ended".to_owned()));
        }
        framer.push(&buffer);
    }
}
