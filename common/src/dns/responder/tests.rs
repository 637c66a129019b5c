use std::collections::BTreeSet;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{RData, RecordType};

use super::*;
use crate::dns::records::Records;
use crate::net::Domain;

mod wildcards;

const ZONE: &str = "$TTL 300
@ SOA ns1 hostmaster 1 3600 600 86400 60
@ NS ns1
ns1 A 192.0.2.1
_collab-edge._tls SRV 10 10 8443 edge1
_collab-edge._tls SRV 10 20 8443 edge2
_collab-edge._tls SRV 20 0 8443 edge3.other.test.
edge1 A 192.0.2.11
edge1 AAAA 2001:db8::11
edge2 A 192.0.2.12
alias CNAME edge1
broken CNAME nowhere
ring CNAME ring
";

fn name(text: &str) -> Name {
    Name::from(&Domain::parse(text).unwrap())
}

fn responder_of(text: &str, gone: &[&str]) -> Responder {
    let records = Records::parse(&name("example.test"), text).unwrap();
    let gone: BTreeSet<Name> = gone.iter().map(|edge| name(edge)).collect();
    let zone = Zone::new(&records, &gone);
    Responder::new(vec![zone], CookieKeys::of_one([7; 16]))
}

struct Ask {
    name: Vec<u8>,
    kind: u16,
    class: u16,
    opcode: u8,
    opt: Option<Vec<u8>>,
    transport: Transport,
}

fn ask(text: &str, kind: u16) -> Ask {
    let mut wire = Vec::new();
    for label in text.split('.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    Ask {
        name: wire,
        kind,
        class: number::IN,
        opcode: 0,
        opt: None,
        transport: Transport::Udp,
    }
}

impl Ask {
    fn edns(mut self, payload: u16, version: u8, options: &[u8]) -> Self {
        let [size1, size2] = payload.to_be_bytes();
        let len = u8::try_from(options.len()).unwrap();
        let head = [0, 0, 41, size1, size2, 0, version, 0, 0, 0, len];
        self.opt = Some([head.as_slice(), options].concat());
        self
    }

    fn packet(&self) -> Vec<u8> {
        let additionals = u8::from(self.opt.is_some());
        let mut packet = vec![
            0xAB,
            0xCD,
            self.opcode << 3 | 1,
            0x30,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            additionals,
        ];
        packet.extend_from_slice(&self.name);
        packet.extend_from_slice(&self.kind.to_be_bytes());
        packet.extend_from_slice(&self.class.to_be_bytes());
        packet.extend_from_slice(self.opt.as_deref().unwrap_or_default());
        packet
    }

    fn of(&self, responder: &Responder) -> (Answered, Message, Vec<u8>) {
        let asked = Asked {
            client: [198, 51, 100, 1].into(),
            transport: self.transport,
            now: UnixTime(1_800_000_000),
        };
        let mut out = Vec::new();
        let answered = responder.answer(&self.packet(), &asked, &mut out).unwrap();
        let message = Message::from_vec(&out).unwrap();
        assert_eq!(message.metadata.id, 0xABCD);
        assert_eq!(message.metadata.message_type, MessageType::Response);
        assert!(!message.metadata.recursion_available && !message.metadata.authentic_data);
        assert!(message.metadata.recursion_desired);
        (answered, message, out)
    }
}

fn answer(ask: &Ask) -> Message {
    ask.of(&responder_of(ZONE, &[])).1
}

const SERVICE: &str = "_collab-edge._tls.example.test";

#[test]
fn a_service_is_answered_with_its_servers_and_their_addresses() {
    let message = answer(&ask(SERVICE, number::SRV));

    assert!(message.metadata.authoritative);
    assert_eq!(message.answers.len(), 3);
    let additionals: Vec<(String, RecordType)> = message
        .additionals
        .iter()
        .map(|record| (record.name.to_string(), record.record_type()))
        .collect();
    let expected = [
        ("edge1.example.test.", RecordType::A),
        ("edge1.example.test.", RecordType::AAAA),
        ("edge2.example.test.", RecordType::A),
    ];
    assert_eq!(
        additionals,
        expected.map(|(name, kind)| (name.to_owned(), kind))
    );
}

#[test]
fn the_letter_case_of_the_question_comes_back() {
    let ask = ask("_Collab-EDGE._tLs.eXample.TesT", number::SRV);

    let (_, message, out) = ask.of(&responder_of(ZONE, &[]));

    assert_eq!(message.answers.len(), 3);
    assert_eq!(out.get(12..12 + ask.name.len()).unwrap(), ask.name);
}

#[test]
fn an_edge_that_is_gone_leaves_the_answer_and_keeps_its_addresses() {
    let responder = responder_of(ZONE, &["edge1.example.test"]);

    let (_, message, _) = ask(SERVICE, number::SRV).of(&responder);
    let targets: Vec<String> = message
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    assert!(
        targets.len() == 2 && !targets.iter().any(|target| target.contains("edge1")),
        "{targets:?}"
    );

    let (_, address, _) = ask("edge1.example.test", number::A).of(&responder);
    assert_eq!(address.answers.len(), 1);
}

#[test]
fn when_all_edges_are_gone_the_name_exists_without_records() {
    let responder = responder_of(
        ZONE,
        &[
            "edge1.example.test",
            "edge2.example.test",
            "edge3.other.test",
        ],
    );

    let (answered, message, _) = ask(SERVICE, number::SRV).of(&responder);

    assert_eq!(
        (answered.rcode, answered.outcome),
        (Rcode::NoError, Outcome::NoData)
    );
    assert_eq!(message.authorities.len(), 1);
}

#[test]
fn what_does_not_exist_is_told_apart_from_what_has_no_such_record() {
    for (name, rcode) in [
        ("_tls.example.test", ResponseCode::NoError),
        ("edge2.example.test", ResponseCode::NoError),
        ("_cisco-uds._tcp.example.test", ResponseCode::NXDomain),
    ] {
        let message = answer(&ask(name, number::AAAA));

        assert_eq!(message.metadata.response_code, rcode, "{name}");
        assert!(message.metadata.authoritative && message.answers.is_empty());
        let [soa] = message.authorities.as_slice() else {
            panic!("one SOA record for {name}");
        };
        assert_eq!(
            (soa.name.to_string().as_str(), soa.ttl),
            ("example.test.", 60)
        );
    }
}

#[test]
fn other_zones_other_classes_and_transfers_are_refused_without_authority() {
    let mut chaos = ask("version.bind", 16);
    chaos.class = 3;
    let transfers = [number::AXFR, number::IXFR].map(|kind| ask("example.test", kind));
    let mut tcp = ask("example.test", number::AXFR);
    tcp.transport = Transport::Tcp;
    let others = [
        ask("example.com", number::A),
        ask("test", number::NS),
        ask("badexample.test", number::A),
    ];
    for ask in others.into_iter().chain(transfers).chain([chaos, tcp]) {
        let message = answer(&ask);

        assert_eq!(message.metadata.response_code, ResponseCode::Refused);
        assert!(!message.metadata.authoritative);
        assert!(message.authorities.is_empty() && message.answers.is_empty());
    }
}

#[test]
fn other_kinds_of_requests_are_not_implemented() {
    for opcode in [1, 2, 4, 5, 6] {
        let mut ask = ask("example.test", number::SOA);
        ask.opcode = opcode;

        let message = answer(&ask);

        assert_eq!(message.metadata.response_code, ResponseCode::NotImp);
        assert_eq!(message.metadata.op_code, OpCode::from_u8(opcode));
    }
}

#[test]
fn edns_is_answered_in_kind() {
    let message = answer(&ask(SERVICE, number::SRV).edns(4096, 0, b"\xFF\xFD\0\x02hi"));
    let edns = message.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.version()), (1232, 0));
    assert!(
        edns.options().as_ref().is_empty(),
        "unknown options are not sent back"
    );

    let (answered, message, _) = ask(SERVICE, number::SRV)
        .edns(4096, 1, b"")
        .of(&responder_of(ZONE, &[]));
    assert_eq!(answered.rcode, Rcode::BadVersion);
    assert_eq!(u16::from(message.metadata.response_code), 16);
    assert!(message.answers.is_empty());

    assert!(answer(&ask(SERVICE, number::SRV)).edns.is_none());
}

#[test]
fn any_is_answered_with_one_set() {
    let message = answer(&ask("edge1.example.test", number::ANY));

    assert_eq!(message.answers.len(), 1);
}

#[test]
fn other_names_are_followed_within_the_zone_and_no_further() {
    let message = answer(&ask("alias.example.test", number::A));
    let names: Vec<String> = message
        .answers
        .iter()
        .map(|record| record.name.to_string())
        .collect();
    assert_eq!(names, ["alias.example.test.", "edge1.example.test."]);
    assert!(matches!(message.answers[1].data, RData::A(_)));

    let broken = answer(&ask("broken.example.test", number::A));
    assert_eq!(broken.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!((broken.answers.len(), broken.authorities.len()), (1, 1));

    let ring = answer(&ask("ring.example.test", number::A));
    assert!(ring.answers.len() <= limits::DNS_ALIASES_MAX);
}

fn large_zone() -> String {
    let edges = (1..40)
        .map(|n| format!("_collab-edge._tls SRV 10 10 8443 edge{n}.long-name.other.test.\n"));
    format!("{ZONE}{}", edges.collect::<String>())
}

#[test]
fn what_does_not_fit_is_truncated_with_its_opt_and_comes_whole_over_tcp() {
    let responder = responder_of(&large_zone(), &[]);
    let udp = ask(SERVICE, number::SRV).edns(4096, 0, b"");
    let mut tcp = ask(SERVICE, number::SRV).edns(4096, 0, b"");
    tcp.transport = Transport::Tcp;

    let (answered, message, out) = udp.of(&responder);
    assert!(answered.is_truncated && message.metadata.truncation);
    assert!(message.edns.is_some() && out.len() <= 1232);
    let (answered, whole, _) = tcp.of(&responder);
    assert!(!answered.is_truncated && !whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 42);
}

#[test]
fn addresses_that_do_not_fit_are_left_out_without_a_word() {
    let edges = (1..10).map(|n| format!("_collab-edge._tls SRV 1 1 8443 n{n}\nn{n} A 192.0.2.9\n"));
    let responder = responder_of(&format!("{ZONE}{}", edges.collect::<String>()), &[]);

    let (answered, message, out) = ask(SERVICE, number::SRV).of(&responder);

    assert!(!answered.is_truncated);
    assert_eq!(message.answers.len(), 12);
    assert!(
        message.additionals.len() < 12 && out.len() <= 512,
        "{}",
        message.additionals.len()
    );
}

#[test]
fn a_cookie_comes_back_and_is_good_then() {
    let responder = responder_of(ZONE, &[]);
    let first = ask(SERVICE, number::SRV).edns(1232, 0, b"\0\x0a\0\x08abcdefgh");

    let (answered, _, out) = first.of(&responder);
    assert!(!answered.has_cookie);
    let cookie = out.get(out.len() - 24..).unwrap();
    assert!(cookie.starts_with(b"abcdefgh"));
    let second = ask(SERVICE, number::SRV).edns(1232, 0, &[b"\0\x0a\0\x18", cookie].concat());
    let (answered, _, _) = second.of(&responder);

    assert!(answered.has_cookie);
}

#[test]
fn a_slipped_answer_is_empty_and_keeps_its_question_and_opt() {
    let responder = responder_of(ZONE, &[]);
    for ask in [
        ask(SERVICE, number::SRV),
        ask(SERVICE, number::SRV).edns(1232, 0, b""),
    ] {
        let (answered, _, mut out) = ask.of(&responder);

        truncate(&mut out, &answered);

        let message = Message::from_vec(&out).unwrap();
        assert!(message.metadata.truncation && message.answers.is_empty());
        assert_eq!(message.queries.len(), 1);
        assert_eq!(message.edns.is_some(), ask.opt.is_some());
    }
}

#[test]
fn the_longest_zone_that_fits_answers() {
    let inner = Records::parse(
        &name("_tls.example.test"),
        "$TTL 5\n@ SOA ns.other. h.other. 1 2 3 4 5\n@ NS ns.other.\n_collab-edge SRV 1 1 8443 e.other.\n",
    );
    let outer = Records::parse(&name("example.test"), ZONE);
    let zones = [outer, inner].map(|records| Zone::new(&records.unwrap(), &BTreeSet::new()));
    let responder = Responder::new(zones.into(), CookieKeys::of_one([7; 16]));

    let (_, message, _) = ask(SERVICE, number::SRV).of(&responder);

    assert_eq!(message.answers.len(), 1);
}

#[test]
fn answers_are_alike_if_they_say_the_same() {
    let responder = responder_of(ZONE, &[]);
    let likeness = |name: &str, kind| {
        let (answered, _, _) = ask(name, kind).of(&responder);
        format!("{:?}", answered.likeness())
    };

    assert_eq!(
        likeness(SERVICE, number::SRV),
        likeness("_COLLAB-edge._tls.example.test", number::SRV)
    );
    assert_ne!(
        likeness("edge1.example.test", number::A),
        likeness("edge1.example.test", number::AAAA)
    );
    assert_eq!(
        likeness("x.example.test", number::A),
        likeness("y.example.test", number::SRV)
    );
    assert_eq!(
        likeness("example.com", number::A),
        likeness("example.org", number::A)
    );
}
