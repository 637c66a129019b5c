//! Path and Contact: two ways back.

use std::time::Duration;

use super::world::*;
use crate::sip::message::Message;
use crate::sip::name::Name;
use crate::sip::proxy::*;

fn in_mode(mode: RegistrarMode) -> World {
    let mut config = config();
    config.registrars[0].mode = mode;
    World::with(config)
}

fn contact_of(message: &Message) -> String {
    let contact = message
        .contacts()
        .find_map(|contact| contact.address())
        .unwrap();
    String::from_utf8_lossy(contact.uri().as_bytes()).into_owned()
}

#[test]
fn path_is_added_only_for_clients_that_know_it_unless_the_registrar_wants_it_always() {
    let plain = register("1001", 1, "").replace("gruu, outbound, path", "gruu");

    let mut world = in_mode(RegistrarMode::Path);
    world.client(ALICE, &plain);
    assert!(!world.node_gets().has(Name::Path));

    let mut world = in_mode(RegistrarMode::PathAlways);
    world.client(ALICE, &plain);
    let request = world.node_gets();
    assert!(request.has(Name::Path));
    assert!(request.has_option(Name::Supported, "path"));
}

#[test]
fn in_contact_mode_the_contact_names_us_inside_and_the_client_outside() {
    let mut world = in_mode(RegistrarMode::Contact);
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();
    assert!(!request.has(Name::Path));
    let ours = contact_of(&request);
    assert!(ours.ends_with(".0@10.0.0.5:5060;transport=tcp"), "{ours}");
    assert!(show(request.as_bytes()).contains("+sip.instance=\"<urn:uuid:1001>\";reg-id=1"));
    world.node(challenge(&request));
    world.client_gets(ALICE);
    world.client(ALICE, register("1001", 2, CREDENTIALS));
    let request = world.node_gets();
    world.node(accept(
        &request,
        120,
        "Contact: <sip:other@192.0.2.1>;expires=9\n",
    ));

    let answer = world.client_gets(ALICE);
    let contacts = values(&answer, Name::Contact);
    assert_eq!(contacts[0], "<sip:other@192.0.2.1>;expires=9");
    assert_eq!(contacts[1], format!("<{}>;expires=120", contact("1001")));

    let text = format!(
        "MESSAGE {ours} SIP/2.0\nVia: SIP/2.0/TCP 10.0.0.10;branch=z9hG4bKm1\nMax-Forwards: 9\n\
         To: <sip:1001@lab.test>\nFrom: <sip:2000@lab.test>;tag=d\nCall-ID: m\n\
         CSeq: 1 MESSAGE\nContent-Length: 0\n\n"
    );
    world.node(&text);
    let message = world.client_gets(ALICE);
    assert_eq!(
        message.uri().unwrap().as_bytes(),
        contact("1001").as_bytes()
    );

    let forged = text
        .replace("MESSAGE sip:", "MESSAGE sip:x")
        .replace("z9hG4bKm1", "z9hG4bKm2");
    world.node(forged);
    let answer = world.node_gets();
    assert_eq!(answer.status(), Some(404), "no token of ours at all");
    let flipped = if ours.contains("sip:A") {
        "sip:B"
    } else {
        "sip:A"
    };
    let forged = text
        .replace(ours.get(..5).unwrap(), flipped)
        .replace("z9hG4bKm1", "z9hG4bKm3");
    world.node(forged);
    assert_eq!(world.node_gets().status(), Some(403));
    world.pass(Duration::from_secs(130));
    assert_eq!(world.proxy.bindings(), 0);
}

#[test]
fn auth_int_is_taken_out_of_challenges_and_the_rest_stays() {
    let mut world = World::new();
    world.client(ALICE, register("1001", 1, ""));
    let request = world.node_gets();
    let challenges = "WWW-Authenticate: Digest realm=\"a\", nonce=\"1\", qop=\"auth,auth-int\", algorithm=SHA-256\n\
                      WWW-Authenticate: Digest realm=\"a\", nonce=\"2\", qop=\"auth\"\n\
                      WWW-Authenticate: Bearer realm=\"ccmsipline\"\n\
                      Proxy-Authenticate: Digest realm=\"b\", nonce=\"3\", qop=\"auth-int\"\n";

    world.node(reply(&request, 401, challenges));

    let answer = world.client_gets(ALICE);
    assert_eq!(
        values(&answer, Name::WwwAuthenticate),
        [
            "Digest realm=\"a\", nonce=\"1\", qop=\"auth\", algorithm=SHA-256",
            "Digest realm=\"a\", nonce=\"2\", qop=\"auth\"",
            "Bearer realm=\"ccmsipline\"",
        ]
    );
    assert!(!answer.has(Name::ProxyAuthenticate));
}

#[test]
fn a_refused_body_refuses_the_request_and_is_taken_off_a_response() {
    let mut world = World::new();
    world.register(ALICE, "1001");
    world.bodies.verdict = Some(BodyVerdict::Refuse {
        code: 503,
        reason: "no ports",
        retry_after: Some(Duration::from_secs(5)),
    });
    world.client(ALICE, invite("1001", "2000", 10, ""));
    let answer = world.client_gets(ALICE);
    assert_eq!(answer.status(), Some(503));
    assert_eq!(values(&answer, Name::RetryAfter), ["5"]);
    assert_eq!(world.proxy.calls(), 0);

    world.bodies.verdict = Some(BodyVerdict::Replace("v=0 ours".into()));
    world.client(ALICE, invite("1001", "2000", 11, ""));
    let request = world.node_gets();
    assert_eq!(request.body(), b"v=0 ours");
    world.bodies.verdict = Some(BodyVerdict::Strip);
    let ok = reply(&request, 200, "Content-Type: application/sdp\n")
        .replace("Content-Length: 0\r\n\r\n", "Content-Length: 3\r\n\r\nv=0");
    world.node(ok);
    let answer = world.client_gets(ALICE);
    assert!(answer.body().is_empty() && !answer.has(Name::ContentType));
}

#[test]
fn a_registrar_that_requires_a_path_gets_one() {
    let mut world = World::new();
    let plain = register("1001", 1, "").replace("gruu, outbound, path", "gruu");
    world.client(ALICE, &plain);
    let request = world.node_gets();
    assert!(!request.has(Name::Path));

    world.node(reply(&request, 421, "Require: path\n"));

    let request = world.node_gets();
    assert!(request.has(Name::Path) && request.has_option(Name::Supported, "path"));
    world.node(reply(&request, 421, "Require: path\n"));
    assert_eq!(world.client_gets(ALICE).status(), Some(421));
}
