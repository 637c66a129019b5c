//! The server's feature list: what is hidden from clients because it can't work through two TLS legs. What stays keeps
//! its bytes.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::framing::Element;
use super::{NS_CHANNEL_BINDING, NS_HOSTNAME, NS_SASL, NS_SASL2, NS_STREAMS, NS_TLS};

/// What to do about a server that can bind authentication to its TLS connection (RFC 5802 section 6): it would find
/// that the client's connection is another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Offer all it offers; clients try, fail, and most try again without.
    #[default]
    Pass,
    /// Let nobody sign in through the edge.
    Refuse,
    /// Hide it. Servers that know the trick refuse what clients do then, and clients may fall to PLAIN.
    Strip,
}

/// What is hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeaturePolicy {
    /// See [`ChannelBinding`].
    pub channel_binding: ChannelBinding,
    /// Hide the names of home and backup node.
    pub hides_nodes: bool,
}

/// What a feature list offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Names of mechanisms, of either profile, in the server's order.
    pub mechanisms: Vec<String>,
    /// Can it bind authentication to the TLS connection?
    pub binds_channel: bool,
    /// STARTTLS is offered.
    pub has_starttls: bool,
    /// Home and backup node of the user, as far as the server says so.
    pub nodes: Vec<String>,
}

/// Is this element a feature list?
#[must_use]
pub fn is_features(element: &Element) -> bool {
    element.is(NS_STREAMS, "features")
}

/// What a feature list offers.
#[must_use]
pub fn offer(features: &Element) -> Offer {
    let mut offer = Offer::default();
    for feature in &features.children {
        if feature.is(NS_TLS, "starttls") {
            offer.has_starttls = true;
        }
        if feature.is(NS_CHANNEL_BINDING, "sasl-channel-binding") {
            offer.binds_channel = true;
        }
        for child in mechanism_children(feature) {
            if child.name == "mechanism" {
                let name = child.text.trim();
                offer.binds_channel |= name.ends_with("-PLUS");
                offer.mechanisms.push(name.to_owned());
            } else if child.is(NS_HOSTNAME, "hostname") {
                offer.nodes.push(child.text.trim().to_owned());
            }
        }
    }
    offer
}

/// The list as clients see it. `raw` are the bytes that the spans of `features` are places in.
#[must_use]
pub fn rewrite(features: &Element, raw: &Bytes, policy: FeaturePolicy) -> Bytes {
    let mut hidden: Vec<Range<usize>> = Vec::new();
    let is_stripped = policy.channel_binding == ChannelBinding::Strip;
    for feature in &features.children {
        // RFC 6120 section 5.3.1: the client is within TLS already.
        let hides = feature.is(NS_TLS, "starttls")
            || is_stripped && feature.is(NS_CHANNEL_BINDING, "sasl-channel-binding");
        if hides {
            hidden.push(feature.span.clone());
            continue;
        }
        for child in mechanism_children(feature) {
            let name = child.text.trim();
            // The client's certificate ends at the edge.
            let hides = child.name == "mechanism"
                && (name == "EXTERNAL" || is_stripped && name.ends_with("-PLUS"))
                || policy.hides_nodes && child.is(NS_HOSTNAME, "hostname");
            if hides {
                hidden.push(child.span.clone());
            }
        }
    }
    without(raw, &hidden)
}

fn mechanism_children(feature: &Element) -> &[Element] {
    if feature.is(NS_SASL, "mechanisms") || feature.is(NS_SASL2, "authentication") {
        &feature.children
    } else {
        &[]
    }
}

/// `spans` are in order and apart.
fn without(raw: &Bytes, spans: &[Range<usize>]) -> Bytes {
    if spans.is_empty() {
        return raw.clone();
    }
    let mut kept = BytesMut::with_capacity(raw.len());
    let mut at = 0;
    for span in spans {
        kept.extend_from_slice(raw.get(at..span.start).unwrap_or_default());
        at = span.end;
    }
    kept.extend_from_slice(raw.get(at..).unwrap_or_default());
    kept.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::framing::{Framer, Item};

    const FEATURES: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
        <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism>\
        <mechanism>SCRAM-SHA-1</mechanism> <mechanism>EXTERNAL</mechanism><mechanism>PLAIN</mechanism>\
        <hostname xmlns='urn:xmpp:domain-based-name:0'>imp1.example.com</hostname></mechanisms>\
        <sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding>\
        <x xmlns='urn:x' a=\"&lt;\"/></stream:features>";

    fn features() -> (Element, Bytes) {
        let open =
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>";
        let mut framer = Framer::new(10_000);
        framer.push(format!("{open}{FEATURES}").as_bytes());
        loop {
            if let Item::Element { element, raw } = framer.next_item().unwrap().unwrap() {
                return (element, raw);
            }
        }
    }

    fn seen(policy: FeaturePolicy) -> String {
        let (features, raw) = features();
        String::from_utf8(rewrite(&features, &raw, policy).to_vec()).unwrap()
    }

    #[test]
    fn the_offer_is_read() {
        let (features, _) = features();

        let offer = offer(&features);

        assert!(is_features(&features) && offer.has_starttls && offer.binds_channel);
        assert_eq!(
            offer.mechanisms,
            ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "EXTERNAL", "PLAIN"]
        );
        assert_eq!(offer.nodes, ["imp1.example.com"]);
    }

    #[test]
    fn only_what_the_edge_ends_is_hidden_and_the_rest_keeps_its_bytes() {
        let expected = FEATURES
            .replace(
                "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>",
                "",
            )
            .replace("<mechanism>EXTERNAL</mechanism>", "");

        assert_eq!(seen(FeaturePolicy::default()), expected);
    }

    #[test]
    fn channel_binding_and_nodes_are_hidden_when_told_so() {
        let policy = FeaturePolicy {
            channel_binding: ChannelBinding::Strip,
            hides_nodes: true,
        };

        let seen = seen(policy);

        for hidden in ["PLUS", "sasl-cb", "imp1", "EXTERNAL", "starttls"] {
            assert!(!seen.contains(hidden), "{hidden} in {seen}");
        }
        assert!(seen.contains("<mechanism>SCRAM-SHA-1</mechanism>") && seen.contains("&lt;"));
    }
}
