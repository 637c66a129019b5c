//! Packets of strangers: whatever comes in, what goes out is a well-formed answer to it, and no longer than it may be.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken promise is to end the test"
)]

use std::collections::BTreeSet;
use std::sync::OnceLock;

use domain::base::Message;
use domain::base::iana::Rtype;

use super::cookie::CookieKeys;
use super::records::Records;
use super::zone::Zone;
use super::{Answered, Asked, Name, Responder, Transport, truncate};
use crate::net::Domain;
use crate::time::UnixTime;

const ZONE: &str = "$TTL 300
@ SOA ns1 hostmaster 1 3600 600 86400 60
@ NS ns1
@ NS ns2
ns1 A 192.0.2.1
ns2 AAAA 2001:db8::2
_collab-edge._tls SRV 10 10 8443 edge1
_collab-edge._tls SRV 10 10 8443 edge2
edge1 A 192.0.2.11
edge1 AAAA 2001:db8::11
edge2 A 192.0.2.12
alias CNAME edge1
far CNAME www.other.test.
ring CNAME ring2
ring2 CNAME ring
*.wild A 192.0.2.20
*.wild SRV 0 0 8443 x.wild
*.ring3 CNAME x.y.ring3
@ NSEC3PARAM 1 0 1 aabb
to28mj0eona8lm5fk0a32slfnd5f67vi NSEC3 1 0 1 aabb to28mj0eona8lm5fk0a32slfnd5f67vi A NS SOA
";

fn responder() -> &'static Responder {
    static RESPONDER: OnceLock<Responder> = OnceLock::new();
    RESPONDER.get_or_init(|| {
        let apex = Name::from(&Domain::parse("example.test").unwrap());
        let records = Records::parse(&apex, ZONE).unwrap();
        let zone = Zone::new(&records, &BTreeSet::new());
        Responder::new(vec![zone], CookieKeys::of_one([7; 16]))
    })
}

/// One packet over UDP, and the same over TCP.
///
/// # Panics
/// On a broken promise.
pub fn packet(bytes: &[u8]) {
    let mut out = Vec::new();
    for transport in [Transport::Udp, Transport::Tcp] {
        let asked = Asked {
            client: [198, 51, 100, 1].into(),
            transport,
            now: UnixTime(1_800_000_000),
        };
        let Some(answered) = responder().answer(bytes, &asked, &mut out) else {
            assert!(
                bytes.len() < 12 || bytes[2] & 0x80 != 0,
                "every query is answered"
            );
            continue;
        };
        check(bytes, &out, &answered);
        if transport == Transport::Udp {
            assert!(out.len() <= 1232);
            truncate(&mut out, &answered);
            let cut = check(bytes, &out, &answered);
            assert!(cut.header().tc() && cut.header_counts().ancount() == 0);
        }
    }
}

fn check<'a>(query: &[u8], answer: &'a [u8], answered: &Answered) -> Message<&'a [u8]> {
    assert_eq!(query[..2], answer[..2]);
    let message = Message::from_octets(answer).unwrap();
    let header = message.header();
    assert!(header.qr() && !header.ra() && !header.ad() && !header.z());
    assert_eq!(
        u16::from(header.rcode().to_int()),
        answered.rcode.number() & 0xF
    );
    let mut opts = 0_usize;
    for section in [message.answer(), message.authority(), message.additional()] {
        for record in section.unwrap() {
            if record.unwrap().rtype() == Rtype::OPT {
                opts = opts.saturating_add(1);
            }
        }
    }
    assert!(opts <= 1);
    // A reader that shares no code with the writer or the one above.
    hickory_check(answer);
    message
}

#[cfg(test)]
fn hickory_check(answer: &[u8]) {
    // It knows no other types of questions than its own, and reads these all the same.
    hickory_proto::op::Message::from_vec(answer).unwrap();
}

#[cfg(not(test))]
const fn hickory_check(_answer: &[u8]) {}
