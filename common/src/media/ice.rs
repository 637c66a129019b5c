//! Connectivity checks of a client that does ICE (RFC 8445), answered as a lite agent: who knows the password gets an
//! answer, everybody else silence. Not here: sockets, and which address media goes to.

use std::net::SocketAddr;

use stun_types::attribute::{Username, XorMappedAddress};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, Message, MessageClass, MessageIntegrityCredentials,
    MessageWrite as _, MessageWriteExt as _, MessageWriteVec, ShortTermCredentials,
};
use zeroize::Zeroize as _;

use crate::limits;
use crate::redact::Secret;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// What a client's checks must show: the fragment and the password that it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceCheck {
    /// Name of the answering side.
    pub ufrag: String,
    /// What requests and answers are signed with.
    pub password: Secret<String>,
}

/// Whether a packet is STUN (RFC 7983 section 7, RFC 8489 section 5).
#[must_use]
pub fn is_stun(packet: &[u8]) -> bool {
    packet.len() >= 20
        && packet.first().is_some_and(|first| *first < 4)
        && packet.get(4..8) == Some(&COOKIE)
}

impl IceCheck {
    /// The answer to a check that came from `source`; `None` to whatever is not a Binding request under this password.
    #[must_use]
    pub fn answer(&self, packet: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
        if packet.len() > limits::ICE_CHECK_BYTES_MAX {
            return None;
        }
        let request = Message::from_bytes(packet).ok()?;
        if !request.has_class(MessageClass::Request) || !request.has_method(BINDING) {
            return None;
        }
        // RFC 8445 section 7.2.2: the name of the answering side comes first.
        let username = request.attribute::<Username>().ok()?;
        let (ours, _) = username.username().split_once(':')?;
        if ours != self.ufrag {
            return None;
        }
        let mut password = self.password.reveal().clone();
        let key = ShortTermCredentials::new(password.clone());
        password.zeroize();
        let credentials = MessageIntegrityCredentials::ShortTerm(key);
        request.validate_integrity(&credentials).ok()?;
        let mut answer = Message::builder_success(&request, MessageWriteVec::new());
        let mapped = XorMappedAddress::new(source, request.transaction_id());
        answer.add_attribute(&mapped).ok()?;
        answer
            .add_message_integrity(&credentials, IntegrityAlgorithm::Sha1)
            .ok()?;
        answer.add_fingerprint().ok()?;
        Some(answer.finish())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check() -> IceCheck {
        IceCheck {
            ufrag: "edge".to_owned(),
            password: Secret::new("a password of the call".to_owned()),
        }
    }

    fn credentials(password: &str) -> MessageIntegrityCredentials {
        MessageIntegrityCredentials::ShortTerm(ShortTermCredentials::new(password.to_owned()))
    }

    fn request(username: &str, password: &str) -> Vec<u8> {
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        let username = Username::new(username).unwrap();
        request.add_attribute(&username).unwrap();
        request
            .add_message_integrity(&credentials(password), IntegrityAlgorithm::Sha1)
            .unwrap();
        request.add_fingerprint().unwrap();
        request.finish()
    }

    const SOURCE: ([u8; 4], u16) = ([192, 0, 2, 7], 5000);

    #[test]
    fn a_check_under_the_password_is_answered_with_where_it_came_from() {
        let request = request("edge:phone", "a password of the call");
        assert!(is_stun(&request));

        let answer = check().answer(&request, SOURCE.into()).unwrap();

        let answer = Message::from_bytes(&answer).unwrap();
        let mapped = answer.attribute::<XorMappedAddress>().unwrap();
        assert_eq!(mapped.addr(answer.transaction_id()), SOURCE.into());
        let signed = answer.validate_integrity(&credentials("a password of the call"));
        assert!(signed.is_ok());
    }

    #[test]
    fn everything_else_is_met_with_silence() {
        let check = check();
        let right = request("edge:phone", "a password of the call");
        let unsigned = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
        for packet in [
            request("edge:phone", "another password"),
            request("other:phone", "a password of the call"),
            request("edge", "a password of the call"),
            unsigned,
            [right.clone(), vec![0; limits::ICE_CHECK_BYTES_MAX]].concat(),
        ] {
            assert_eq!(check.answer(&packet, SOURCE.into()), None);
        }
        // An answer of ours that is sent back to us starts no loop.
        let answer = check.answer(&right, SOURCE.into()).unwrap();
        assert_eq!(check.answer(&answer, SOURCE.into()), None);
    }

    proptest! {
        #[test]
        fn nothing_unsigned_is_answered(packet: Vec<u8>) {
            prop_assert_eq!(check().answer(&packet, SOURCE.into()), None);
        }
    }
}
