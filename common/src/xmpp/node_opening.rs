//! edge-c's side of a connection to a node inside, until TLS (RFC 6120 section 5): the edge is the client here. Serves
//! clients' streams and probes alike.

use super::NS_TLS;
use super::error::write_attribute;
use super::features::{is_features, offer};
use super::framing::{Framer, FramingError, Item};
use crate::limits;
use crate::net::Domain;

/// What comes of the node's bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send what is to be sent and read on.
    GoOn,
    /// Begin the TLS handshake.
    StartTls,
}

/// Why a node can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// A stream error, by the name of its condition.
    #[error("the node closed the stream: {0}")]
    Closed(String),
    /// Not an XMPP stream.
    #[error("the node does not speak XMPP: {0}")]
    Framing(#[from] FramingError),
    /// It offers no TLS, or refused it.
    #[error("the node offers no STARTTLS")]
    NoStartTls,
    /// Bytes where none may be (RFC 6120 section 5.4.3.3).
    #[error("the node sent bytes before the TLS handshake")]
    Leftover,
    /// An element that nobody asked for.
    #[error("the node sent <{0}/> before TLS")]
    Unexpected(String),
}

/// The dialogue with a node before TLS.
#[derive(Debug)]
pub struct NodeOpening {
    framer: Framer,
    has_asked: bool,
    output: String,
}

impl NodeOpening {
    /// Begins a stream for `domain`.
    #[must_use]
    pub fn new(domain: &Domain) -> Self {
        Self {
            framer: Framer::new(limits::XMPP_FEATURES_BYTES_MAX),
            has_asked: false,
            output: header(domain),
        }
    }

    /// What is to be sent now, taken out.
    pub fn take_output(&mut self) -> String {
        std::mem::take(&mut self.output)
    }

    /// Bytes of the node; any chunking.
    ///
    /// # Errors
    /// [`NodeError`]; the connection is of no use then.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Progress, NodeError> {
        self.framer.push(bytes);
        while let Some(item) = self.framer.next_item()? {
            let element = match item {
                Item::Open { .. } => continue,
                Item::Close { .. } => return Err(NodeError::Closed("no reason given".to_owned())),
                Item::Element { element, .. } => element,
            };
            if is_features(&element) && !self.has_asked {
                if !offer(&element).has_starttls {
                    return Err(NodeError::NoStartTls);
                }
                self.has_asked = true;
                self.output
                    .push_str("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            } else if self.has_asked && element.is(NS_TLS, "proceed") {
                return if self.framer.has_rest() {
                    Err(NodeError::Leftover)
                } else {
                    Ok(Progress::StartTls)
                };
            } else if element.is(NS_TLS, "failure") {
                return Err(NodeError::NoStartTls);
            } else if element.is(super::NS_STREAMS, "error") {
                return Err(NodeError::Closed(super::login::condition_name(&element)));
            } else {
                return Err(NodeError::Unexpected(element.name));
            }
        }
        Ok(Progress::GoOn)
    }
}

/// A stream header of the edge's own towards a node, for `domain`.
#[must_use]
pub fn header(domain: &Domain) -> String {
    let mut text = String::from("<?xml version='1.0'?><stream:stream");
    write_attribute(&mut text, "to", domain.as_str());
    text.push_str(
        " version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "<?xml version='1.0'?><stream:stream from='example.com' id='1' version='1.0' \
        xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    const FEATURES: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
        </stream:features>";
    const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

    fn opening() -> NodeOpening {
        NodeOpening::new(&Domain::parse("example.com").unwrap())
    }

    #[test]
    fn a_node_is_led_to_tls() {
        let mut opening = opening();
        assert!(opening.take_output().contains("to='example.com'"));

        let asked = opening.handle_bytes(format!("{OPEN}{FEATURES}").as_bytes());
        assert_eq!(asked, Ok(Progress::GoOn));
        assert!(opening.take_output().starts_with("<starttls"));

        assert_eq!(
            opening.handle_bytes(PROCEED.as_bytes()),
            Ok(Progress::StartTls)
        );
    }

    #[test]
    fn a_node_without_tls_is_not_used() {
        let plain = FEATURES.replace("xmpp-tls", "other");

        let result = opening().handle_bytes(format!("{OPEN}{plain}").as_bytes());

        assert_eq!(result, Err(NodeError::NoStartTls));
    }

    #[test]
    fn bytes_behind_proceed_are_refused() {
        let mut opening = opening();
        opening
            .handle_bytes(format!("{OPEN}{FEATURES}").as_bytes())
            .unwrap();

        let result = opening.handle_bytes(format!("{PROCEED}<stream:features/>").as_bytes());

        assert_eq!(result, Err(NodeError::Leftover));
    }

    #[test]
    fn a_node_that_proceeds_unasked_is_not_used() {
        let result = opening().handle_bytes(format!("{OPEN}{PROCEED}").as_bytes());

        assert_eq!(result, Err(NodeError::Unexpected("proceed".to_owned())));
    }

    #[test]
    fn the_condition_of_a_stream_error_is_told() {
        let error = "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";

        let result = opening().handle_bytes(format!("{OPEN}{error}").as_bytes());

        assert_eq!(result, Err(NodeError::Closed("host-unknown".to_owned())));
    }
}
