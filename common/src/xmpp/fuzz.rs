//! What must hold for whatever peers send; called by the fuzz targets and by the replay of their corpora.

#![expect(clippy::panic, reason = "a fuzz target reports by panicking")]

use bytes::Bytes;

use super::features::{ChannelBinding, FeaturePolicy, is_features, offer, rewrite};
use super::framing::{Element, Framer, Item};
use super::login::{Login, Output};
use super::opening::{Opening, Progress};
use super::sasl::Attempt;
use super::{NS_CHANNEL_BINDING, NS_HOSTNAME, NS_SASL, NS_SASL2, NS_TLS};
use crate::limits;
use crate::net::Domain;

const HEADER: &str =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// How the dialogue before TLS is cut says nothing, and whoever is closed is told why.
///
/// # Panics
/// If not.
pub fn opening(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else {
        return;
    };
    let mut bytes = bytes.get(..limits::XMPP_OPENING_BYTES_MAX).unwrap_or(bytes);
    // What stands before a carriage return is judged with the octet behind it (XML 1.0 section 2.11).
    while let Some((b'\r', before)) = bytes.split_last() {
        bytes = before;
    }
    let (whole, said) = open_in(bytes.len(), bytes);
    let (pieces, _) = open_in(usize::from(piece), bytes);
    match (whole, pieces) {
        // What is behind <starttls/> had not come yet: it is for TLS to refuse.
        (Progress::Close(_), Progress::StartTls) => {}
        (Progress::Close(_), Progress::Close(_)) => {}
        (whole, pieces) => assert_eq!(whole, pieces, "how a stream is cut says nothing"),
    }
    if matches!(whole, Progress::Close(_)) {
        assert!(said.starts_with("<?xml "), "a header before an error");
        assert!(said.ends_with("</stream:error></stream:stream>"), "{said}");
    }
    assert_eq!(
        said.contains("<proceed"),
        whole == Progress::StartTls,
        "TLS begins when both know it"
    );
}

fn open_in(piece: usize, bytes: &[u8]) -> (Progress, String) {
    let mut opening = Opening::new("id1".to_owned());
    let mut said = String::new();
    for chunk in bytes.chunks(piece.max(1)) {
        let progress = opening.handle_bytes(chunk, |domain| domain.as_str() == "example.com");
        said += &opening.take_output();
        if progress != Progress::GoOn {
            return (progress, said);
        }
    }
    (Progress::GoOn, said)
}

/// A feature list loses what can't work, and nothing else; what stays keeps its bytes.
///
/// # Panics
/// If not.
pub fn features(bytes: &[u8]) {
    let Some((element, raw)) = element(bytes, limits::XMPP_FEATURES_BYTES_MAX) else {
        return;
    };
    if !is_features(&element) {
        return;
    }
    for policy in [
        FeaturePolicy::default(),
        FeaturePolicy {
            channel_binding: ChannelBinding::Strip,
            hides_nodes: true,
        },
    ] {
        let shown = rewrite(&element, &raw, policy);
        let again = self::element(&shown, limits::XMPP_FEATURES_BYTES_MAX);
        let Some((again, _)) = again else {
            panic!("it is a list no more");
        };
        let mut expected = element.clone();
        hide(&mut expected, policy);
        assert!(is_alike(&again, &expected), "{again:?} {expected:?}");
        if is_alike(&expected, &element) {
            assert_eq!(shown, raw, "nothing to hide, nothing changes");
        }
        assert!(!offer(&again).has_starttls);
        let mut rest = raw.iter();
        let is_part = shown.iter().all(|byte| rest.any(|other| other == byte));
        assert!(is_part, "nothing is put in");
    }
}

/// The plain way: take out of the tree what clients shall not see.
fn hide(features: &mut Element, policy: FeaturePolicy) {
    let strips = policy.channel_binding == ChannelBinding::Strip;
    features.children.retain(|feature| {
        let is_binding = feature.is(NS_CHANNEL_BINDING, "sasl-channel-binding");
        let is_hidden = feature.is(NS_TLS, "starttls") || strips && is_binding;
        !is_hidden
    });
    for feature in &mut features.children {
        if feature.is(NS_SASL, "mechanisms") || feature.is(NS_SASL2, "authentication") {
            feature.children.retain(|child| {
                let name = child.text.trim();
                let is_mechanism = child.name == "mechanism";
                let is_useless = name == "EXTERNAL" || strips && name.ends_with("-PLUS");
                let is_node = policy.hides_nodes && child.is(NS_HOSTNAME, "hostname");
                let is_hidden = is_mechanism && is_useless || is_node;
                !is_hidden
            });
        }
    }
}

/// Equal but for places and for white space that stood between what was taken out.
fn is_alike(one: &Element, other: &Element) -> bool {
    (&one.namespace, &one.name, &one.attributes)
        == (&other.namespace, &other.name, &other.attributes)
        && one.text == other.text
        && one.children.len() == other.children.len()
        && one
            .children
            .iter()
            .zip(&other.children)
            .all(|(one, other)| is_alike(one, other))
}

/// An attempt to authenticate is read or refused; a name is one that logs and maps can take.
///
/// # Panics
/// If not.
pub fn sasl(bytes: &[u8]) {
    let Some((element, _)) = element(bytes, limits::XMPP_ELEMENT_BYTES_MAX) else {
        return;
    };
    if let Ok(Some(attempt)) = Attempt::read(&element) {
        assert!(attempt.mechanism.len() <= limits::SASL_MECHANISM_BYTES_MAX);
        let len = attempt.user.as_ref().map_or(1, String::len);
        assert!((1..=limits::USER_NAME_BYTES_MAX).contains(&len), "{len}");
        assert!(!(attempt.is_plain() && attempt.is_scram()));
    }
}

fn element(bytes: &[u8], max: usize) -> Option<(Element, Bytes)> {
    let mut framer = Framer::new(max);
    framer.push(HEADER.as_bytes());
    framer.push(bytes);
    while let Ok(Some(item)) = framer.next_item() {
        if let Item::Element { element, raw } = item {
            return Some((element, raw));
        }
    }
    None
}

/// Steps of a login: a byte that says who speaks and how much, and so many bytes. Nobody's attempt reaches the node before
/// it is permitted, nobody is let in without one, and when it is over it is over.
///
/// # Panics
/// If not.
pub fn login(mut bytes: &[u8]) {
    let mut watched = Watched::default();
    let mut login = Login::new("id1".to_owned());
    while let Some((&step, rest)) = bytes.split_first() {
        let len = usize::from(step >> 2).saturating_mul(8);
        let (said, rest) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        bytes = rest;
        match step & 3 {
            0 => login.handle_client(said, |domain| domain.as_str() == "example.com"),
            1 => login.handle_node(said),
            2 => login.handle_connected(),
            _ => drop(login.handle_node_lost()),
        }
        watched.drain(&mut login, step);
    }
    watched.drain(&mut login, 0);
}

#[derive(Default)]
struct Watched {
    is_over: bool,
    permitted: u32,
    domain: Option<Domain>,
}

impl Watched {
    fn drain(&mut self, login: &mut Login, step: u8) {
        let mut outputs = 0_u32;
        while let Some(output) = login.poll_output() {
            assert!(!self.is_over, "{output:?} after the end");
            outputs = outputs.saturating_add(1);
            assert!(outputs < 10_000, "a step makes a handful");
            match output {
                Output::Ask(_) if step & 4 == 0 => login.deny(),
                Output::Ask(_) => {
                    self.permitted = self.permitted.saturating_add(1);
                    login.permit();
                }
                Output::Close(_) => self.is_over = true,
                Output::Connect(domain) => {
                    assert!(self.domain.is_none(), "one domain for one stream");
                    self.domain = Some(domain);
                }
                Output::Offered(_) => {
                    if step & 8 == 0 || !login.leave() {
                        login.stay();
                    }
                }
                Output::Splice { .. } => {
                    assert!(self.permitted > 0, "nobody was permitted");
                    self.is_over = true;
                }
                Output::ToNode(bytes) => {
                    let is_attempt = memchr::memmem::find(&bytes, b"<auth").is_some();
                    assert!(!is_attempt || self.permitted > 0 || is_header(&bytes));
                }
                Output::Failed(_) => assert!(self.permitted > 0, "nobody guessed"),
                Output::NextNode(_) | Output::Redirect(_) | Output::ToClient(_) => {}
            }
        }
    }
}

/// A header may hold anything in its attributes.
fn is_header(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"stream").is_some() && bytes.ends_with(b">")
}
