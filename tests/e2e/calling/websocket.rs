//! SIP over WebSocket (RFC 7118), as a web page speaks it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use support::netns;
use support::sip::agent::SDP;
use support::sip::browser::Page;
use support::sip::voice::Voice;

use super::configuration::PAGE;
use super::scene::{ALICE, MACHINE, Scene, first, user};
use crate::stage::DOMAIN;

#[test]
fn a_web_page_registers_and_calls_a_phone_inside() {
    let mut scene = Scene::pair();
    let (mut machine, spot) = scene.inner_agent(MACHINE);
    let voice = Voice::new(&spot.place, spot.address, false).unwrap();
    let edge = first(netns::public(11));
    let url = format!("wss://{edge}:8443/{}/sip", STANDARD_NO_PAD.encode(DOMAIN));
    let client = scene.zones().client();
    let (caller, callee) = (user(ALICE), user(MACHINE));
    let who = (caller.as_str(), DOMAIN, callee.as_str());
    let page = Page::open(&client, scene.path(), (PAGE, &url), who).unwrap();

    page.wait("registered").unwrap();
    let invite = machine.wait_request("INVITE").unwrap();
    assert!(invite.body.contains("RTP/AVP "), "{invite:#?}");
    machine.respond(&invite, "180 Ringing", "", "").unwrap();
    page.wait("progress 180").unwrap();
    machine
        .respond(&invite, "200 OK", SDP, &voice.sdp().unwrap())
        .unwrap();
    page.wait("accepted sealed").unwrap();
    let bye = machine.wait_request("BYE").unwrap();
    machine.respond(&bye, "200 OK", "", "").unwrap();
    page.wait("ended").unwrap();

    let foreign = Page::open(
        &client,
        scene.path(),
        ("https://elsewhere.example.net", &url),
        who,
    )
    .unwrap();
    foreign.wait("disconnected").unwrap();
}
