use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::xmpp::features::FeaturePolicy;

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.com' version='1.0' xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams'>";
const NODE_HEADER: &str = "<?xml version='1.0'?><stream:stream from='example.com' id='n1' version='1.0' \
    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const FEATURES: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const FAILURE: &str =
    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";

/// A login with what has come out of it.
struct Relay {
    login: Login,
    to_client: String,
    to_node: String,
    rest: Vec<Output>,
    /// Whether every offer is accepted.
    is_staying: bool,
}

impl Relay {
    fn new(policy: Policy) -> Self {
        let mut login = Login::new("own1".to_owned());
        login.treat(policy);
        Self {
            login,
            to_client: String::new(),
            to_node: String::new(),
            rest: Vec::new(),
            is_staying: true,
        }
    }

    /// As far as the feature list.
    fn with_features(features: &str) -> Self {
        let mut relay = Self::new(Policy::default());
        relay.client(HEADER);
        relay.connected();
        relay.node(&format!("{NODE_HEADER}{features}"));
        relay.rest.clear();
        relay
    }

    fn client(&mut self, text: &str) {
        self.login
            .handle_client(text.as_bytes(), |domain| domain.as_str() == "example.com");
        self.drain();
    }

    fn node(&mut self, text: &str) {
        self.login.handle_node(text.as_bytes());
        self.drain();
    }

    fn connected(&mut self) {
        self.login.handle_connected();
        self.drain();
    }

    fn permit(&mut self) {
        self.login.permit();
        self.drain();
    }

    fn deny(&mut self) {
        self.login.deny();
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.login.poll_output() {
            match output {
                Output::ToClient(bytes) => self.to_client += std::str::from_utf8(&bytes).unwrap(),
                Output::ToNode(bytes) => self.to_node += std::str::from_utf8(&bytes).unwrap(),
                other @ (Output::Ask(_)
                | Output::Close(_)
                | Output::Connect(_)
                | Output::Failed(_)
                | Output::NextNode(_)
                | Output::Redirect(_)
                | Output::Splice { .. }) => self.rest.push(other),
                Output::Offered(offer) => {
                    self.rest.push(Output::Offered(offer));
                    if self.is_staying {
                        self.login.stay();
                    }
                }
            }
        }
    }

    fn ending(&self) -> Option<&Ending> {
        self.rest.iter().find_map(|output| match output {
            Output::Close(ending) => Some(ending),
            Output::Ask(_)
            | Output::Connect(_)
            | Output::Failed(_)
            | Output::NextNode(_)
            | Output::Offered(_)
            | Output::Redirect(_)
            | Output::Splice { .. }
            | Output::ToClient(_)
            | Output::ToNode(_) => None,
        })
    }
}

fn auth(mechanism: &str, response: &[u8]) -> String {
    let response = STANDARD.encode(response);
    format!(
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{response}</auth>"
    )
}

fn plain() -> String {
    auth("PLAIN", b"\0alice\0secret")
}

#[test]
fn a_client_signs_in_and_every_byte_of_both_sides_arrives() {
    let mut relay = Relay::new(Policy::default());

    relay.client(HEADER);
    assert!(
        matches!(&relay.rest[..], [Output::Connect(domain)] if domain.as_str() == "example.com")
    );
    relay.connected();
    assert_eq!(relay.to_node, HEADER);
    relay.node(&format!("{NODE_HEADER}{FEATURES}"));
    assert_eq!(relay.to_client, format!("{NODE_HEADER}{FEATURES}"));
    relay.client(&plain());
    assert_eq!(
        relay.to_node, HEADER,
        "nothing passes before it is permitted"
    );
    relay.permit();
    assert_eq!(relay.to_node, format!("{HEADER}{}", plain()));
    relay.node(&format!("{SUCCESS}  "));

    assert!(relay.to_client.ends_with(SUCCESS));
    let Some(Output::Splice {
        attempt, to_client, ..
    }) = relay.rest.last()
    else {
        panic!("{:?}", relay.rest)
    };
    assert_eq!(attempt.user.as_deref(), Some("alice"));
    assert_eq!(&to_client[..], b"  ");
}

#[test]
fn what_a_client_sends_before_the_node_is_there_waits() {
    let mut relay = Relay::new(Policy::default());

    relay.client(&format!("{HEADER}{}", plain()));
    relay.connected();
    relay.node(&format!("{NODE_HEADER}{FEATURES}"));

    assert!(
        relay
            .rest
            .iter()
            .any(|output| matches!(output, Output::Ask(_)))
    );
}

#[test]
fn an_attempt_that_is_denied_never_reaches_the_node() {
    let mut relay = Relay::with_features(FEATURES);

    relay.client(&plain());
    relay.deny();

    assert_eq!(relay.to_node, HEADER);
    assert!(relay.to_client.ends_with(FAILURE), "{}", relay.to_client);
    assert_eq!(relay.ending(), None);
}

/// Whose attempts the node has refused as guesses, in order.
fn guessed(relay: &Relay) -> Vec<Option<&str>> {
    let failed = relay.rest.iter().filter_map(|output| match output {
        Output::Failed(attempt) => Some(attempt.user.as_deref()),
        Output::Ask(_)
        | Output::Close(_)
        | Output::Connect(_)
        | Output::NextNode(_)
        | Output::Offered(_)
        | Output::Redirect(_)
        | Output::Splice { .. }
        | Output::ToClient(_)
        | Output::ToNode(_) => None,
    });
    failed.collect()
}

#[test]
fn what_the_node_refuses_as_a_guess_is_told_and_nothing_else() {
    let mut relay = Relay::with_features(FEATURES);
    relay.client(&plain());
    relay.permit();
    relay.node(&FAILURE.replace("not-authorized", "temporary-auth-failure"));
    relay.client(&plain());
    relay.deny();
    assert_eq!(guessed(&relay), []);
    let mut relay = Relay::with_features(FEATURES);
    relay.node(FAILURE);
    assert_eq!(guessed(&relay), [], "nobody has tried anything");

    relay.client(&plain());
    relay.permit();
    relay.node(FAILURE);

    assert_eq!(guessed(&relay), [Some("alice")]);
}

#[test]
fn a_guess_is_told_before_the_client_can_know_and_leave() {
    let mut relay = Relay::with_features(FEATURES);
    relay.client(&plain());
    relay.permit();

    relay.login.handle_node(FAILURE.as_bytes());

    assert!(matches!(relay.login.poll_output(), Some(Output::Failed(_))));
    assert!(matches!(
        relay.login.poll_output(),
        Some(Output::ToClient(_))
    ));
}

#[test]
fn attempts_one_behind_the_other_are_each_blamed_on_their_own_user() {
    let bob = || auth("PLAIN", b"\0bob\0secret");
    let mut relay = Relay::with_features(FEATURES);
    relay.client(&(plain() + &bob()));
    relay.permit();
    assert!(!relay.to_node.contains(&bob()), "it waits");
    relay.node(FAILURE);
    relay.permit();
    relay.node(FAILURE);
    assert_eq!(guessed(&relay), [Some("alice"), Some("bob")]);

    let mut relay = Relay::with_features(FEATURES);
    relay.client(&(plain() + &bob()));
    relay.permit();
    relay.node(SUCCESS);

    let Some(Output::Splice { attempt, .. }) = relay.rest.last() else {
        panic!("{:?}", relay.rest)
    };
    assert_eq!(attempt.user.as_deref(), Some("alice"));
}

#[test]
fn who_does_not_like_a_challenge_may_begin_anew() {
    let mut relay = Relay::with_features(FEATURES);
    relay.client(&auth("SCRAM-SHA-1", b"n,,n=alice,r=1"));
    relay.permit();
    relay.node("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cg==</challenge>");

    relay.client(&auth("SCRAM-SHA-1", b"n,,n=bob,r=1"));
    relay.permit();
    relay.node(FAILURE);

    assert_eq!(guessed(&relay), [Some("bob")]);
}

#[test]
fn the_third_failure_ends_the_stream() {
    let mut relay = Relay::with_features(FEATURES);

    for _ in 0..limits::SASL_FAILURES_MAX {
        assert_eq!(relay.ending(), None);
        relay.client(&plain());
        relay.permit();
        relay.node(FAILURE);
    }

    assert_eq!(
        relay.ending(),
        Some(&Ending::Refused(Condition::PolicyViolation))
    );
}

#[test]
fn a_client_does_not_fall_to_plain_after_scram_failed() {
    let mut relay = Relay::with_features(FEATURES);
    relay.client(&auth("SCRAM-SHA-1", b"n,,n=alice,r=1"));
    relay.permit();
    relay.node("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cg==</challenge>");
    relay.client("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cg==</response>");
    relay.node(FAILURE);

    relay.client(&plain());

    assert!(!relay.to_node.contains("PLAIN"), "{}", relay.to_node);
    assert!(relay.to_client.ends_with("<invalid-mechanism/></failure>"));
}

#[test]
fn the_edge_s_own_certificate_speaks_for_nobody() {
    let mut relay = Relay::with_features(FEATURES);

    relay.client(&auth("EXTERNAL", b"alice@example.com"));

    assert_eq!(relay.to_node, HEADER);
    assert!(relay.to_client.ends_with("<invalid-mechanism/></failure>"));
}

#[test]
fn stanzas_before_authentication_end_the_stream() {
    let mut relay = Relay::with_features(FEATURES);

    relay.client("<iq type='set' id='1'><query xmlns='jabber:iq:register'/></iq>");

    assert_eq!(
        relay.ending(),
        Some(&Ending::Refused(Condition::NotAuthorized))
    );
    assert_eq!(relay.to_node, HEADER);
}

#[test]
fn a_domain_that_is_not_served_is_told_so_and_nobody_is_dialled() {
    let mut relay = Relay::new(Policy::default());

    relay.client(&HEADER.replace("example.com", "other.test"));

    assert_eq!(
        relay.rest,
        [Output::Close(Ending::Refused(Condition::HostUnknown))]
    );
    assert!(relay.to_client.contains("id='own1'") && relay.to_client.contains("host-unknown"));
}

#[test]
fn a_redirection_is_followed_inside_and_the_client_sees_nothing_of_it() {
    let mut relay = Relay::new(Policy::default());
    relay.client(HEADER);
    relay.connected();

    relay.node(&format!(
        "{NODE_HEADER}<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>imp2.example.com:5222\
         </see-other-host></stream:error></stream:stream>"
    ));
    assert!(
        matches!(relay.rest.last(), Some(Output::Redirect(to)) if to == "imp2.example.com:5222")
    );
    relay.connected();
    relay.node(&format!("{}{FEATURES}", NODE_HEADER.replace("n1", "n2")));

    assert_eq!(relay.to_node, HEADER.repeat(2));
    assert!(relay.to_client.contains("id='n2'") && !relay.to_client.contains("imp2"));
}

#[test]
fn a_user_moves_to_its_home_node_and_the_client_sees_nothing_of_it() {
    let mut relay = Relay::with_features(FEATURES);
    relay.client(&plain());

    assert!(relay.login.leave());
    relay.connected();
    relay.node(&format!("{}{FEATURES}", NODE_HEADER.replace("n1", "n2")));
    relay.node(SUCCESS);

    assert_eq!(relay.to_node, format!("{HEADER}{HEADER}{}", plain()));
    assert_eq!(relay.to_client, format!("{NODE_HEADER}{FEATURES}{SUCCESS}"));
    assert!(matches!(relay.rest.last(), Some(Output::Splice { .. })));
}

#[test]
fn a_hint_of_a_node_is_followed_before_the_client_sees_its_features() {
    let mut relay = Relay::new(Policy::default());
    relay.is_staying = false;
    relay.client(HEADER);
    relay.connected();
    relay.node(&format!("{NODE_HEADER}{FEATURES}"));

    assert!(relay.login.leave());
    relay.is_staying = true;
    relay.connected();
    relay.node(&format!("{}{FEATURES}", NODE_HEADER.replace("n1", "n2")));

    assert!(!relay.to_client.contains("n1"), "{}", relay.to_client);
    assert!(relay.to_client.contains("n2"), "{}", relay.to_client);
}

#[test]
fn nobody_moves_after_an_attempt_has_failed() {
    let mut relay = Relay::with_features(FEATURES);
    relay.client(&plain());
    relay.permit();
    relay.node(FAILURE);
    relay.client(&plain());

    assert!(!relay.login.leave());
    relay.permit();

    assert_eq!(relay.to_node, format!("{HEADER}{}{}", plain(), plain()));
}

#[test]
fn a_node_that_is_lost_before_it_has_offered_anything_is_replaced() {
    let mut relay = Relay::new(Policy::default());
    relay.client(HEADER);
    relay.connected();

    assert!(relay.login.handle_node_lost());
    relay.connected();
    relay.node(&format!(
        "{NODE_HEADER}<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    ));
    assert!(matches!(relay.rest.last(), Some(Output::NextNode(_))));
    relay.connected();
    relay.node(&format!("{NODE_HEADER}{FEATURES}"));
    assert_eq!(relay.to_client, format!("{NODE_HEADER}{FEATURES}"));

    assert!(!relay.login.handle_node_lost());
    relay.drain();
    assert!(relay.to_client.contains("<remote-connection-failed"));
}

#[test]
fn redirections_without_end_are_not_followed() {
    let mut relay = Relay::new(Policy::default());
    relay.client(HEADER);
    for _ in 0..=limits::XMPP_REDIRECTIONS_MAX {
        relay.connected();
        relay.node(&format!(
            "{NODE_HEADER}<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>imp2\
             </see-other-host></stream:error>"
        ));
    }

    assert_eq!(
        relay.ending(),
        Some(&Ending::Refused(Condition::RemoteConnectionFailed))
    );
    assert!(!relay.to_client.contains("imp2"));
}

#[test]
fn an_error_of_the_node_reaches_the_client() {
    let mut relay = Relay::new(Policy::default());
    relay.client(HEADER);
    relay.connected();

    relay.node(&format!(
        "{NODE_HEADER}<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    ));

    assert!(
        relay.to_client.starts_with(NODE_HEADER) && relay.to_client.ends_with("</stream:stream>")
    );
    assert_eq!(
        relay.ending(),
        Some(&Ending::NodeClosed("host-unknown".to_owned()))
    );
}

#[test]
fn a_success_that_nobody_asked_for_lets_nobody_in() {
    let mut relay = Relay::with_features(FEATURES);

    relay.node(SUCCESS);

    assert!(matches!(relay.ending(), Some(Ending::NodeMisbehaved(_))));
    assert!(!relay.to_client.contains("success"));
}

#[test]
fn a_login_without_end_is_cut_off() {
    let mut relay = Relay::with_features(FEATURES);

    relay.client(&" ".repeat(limits::XMPP_LOGIN_BYTES_MAX));

    assert_eq!(
        relay.ending(),
        Some(&Ending::Refused(Condition::PolicyViolation))
    );
}

#[test]
fn a_server_that_binds_channels_is_refused_when_told_so() {
    let mut relay = Relay::new(Policy {
        features: FeaturePolicy {
            channel_binding: ChannelBinding::Refuse,
            hides_nodes: false,
        },
    });
    relay.client(HEADER);
    relay.connected();

    relay.node(&format!(
        "{NODE_HEADER}{}",
        FEATURES.replace("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS")
    ));

    assert_eq!(
        relay.ending(),
        Some(&Ending::Refused(Condition::RemoteConnectionFailed))
    );
}

proptest! {
    #[test]
    fn any_chunking_of_both_sides_signs_in(client in 1_usize..50, node in 1_usize..50) {
        let mut relay = Relay::new(Policy::default());
        let says = format!("{HEADER}{}", plain());
        for chunk in says.as_bytes().chunks(client) {
            relay.client(std::str::from_utf8(chunk).unwrap());
        }
        relay.connected();
        for chunk in format!("{NODE_HEADER}{FEATURES}").as_bytes().chunks(node) {
            relay.node(std::str::from_utf8(chunk).unwrap());
        }
        relay.permit();
        for chunk in SUCCESS.as_bytes().chunks(node) {
            relay.node(std::str::from_utf8(chunk).unwrap());
        }

        prop_assert_eq!(relay.to_node, says);
        prop_assert_eq!(relay.to_client, format!("{NODE_HEADER}{FEATURES}{SUCCESS}"));
        prop_assert!(matches!(relay.rest.last(), Some(Output::Splice { .. })), "no splice");
    }
}
