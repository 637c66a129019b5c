//! Calls by ways that are not the usual ones: SRTP inside, ICE, media over TCP, two edges, a client that comes back, and
//! lines that are neither sound nor pictures.

use std::net::{SocketAddr, UdpSocket};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use common::testing::issuer::Issuer as Signer;
use serde_json::json;
use support::netns;
use support::pair::Size;
use support::sip::agent::{Agent, Dialog, SDP};
use support::sip::registrar::TOKEN;
use support::sip::voice::{Voice, audio_address, keys_of};
use support::tls_client::Dialer;
use toml::toml;

use super::ending::hears;
use super::scenario;
use super::scene::{ALICE, BOB, DESK, Scene, Setup, first, tone, user, usual};
use crate::stage::{DOMAIN, Stage, edge_name};

#[test]
fn media_goes_over_tcp_where_the_datagrams_of_the_link_are_blocked() {
    let mut scene = Scene::pair_with(&Setup {
        more: |stage| stage.zones.block_trunk().unwrap(),
        ..Setup::USUAL
    });
    let mut alice = scene.phone(ALICE, usual);
    let mut desk = scene.desk(DESK, usual);

    scenario::call((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
    scenario::hold_and_resume((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
    scenario::hang_up(&mut alice, &mut desk);

    let (_, metrics) = scene.stage().pair.cores[0].ask_admin("/metrics").unwrap();
    let mut trunks = metrics
        .lines()
        .filter(|line| line.starts_with("edge_media_trunk_up{"));
    assert!(
        trunks.any(|line| line.contains("path=\"tcp\"") && line.ends_with(" 1")),
        "{metrics}"
    );
}

#[test]
fn a_sealed_phone_inside_is_spoken_to_under_keys_of_its_own() {
    let mut scene = Scene::pair_with(&Setup {
        media: "srtp",
        ..Setup::USUAL
    });
    let mut alice = scene.phone(ALICE, usual);
    let mut desk = scene.desk(DESK, |plan| plan.is_sealed = true);

    for _ in 0..2 {
        let start = SystemTime::now();
        scenario::call((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
        for phone in [&alice, &desk] {
            let heard = phone.incoming(start).unwrap();
            assert!(!heard.is_empty() && heard.iter().all(|packet| packet.is_sealed));
        }
        scenario::hang_up(&mut desk, &mut alice);
        std::mem::swap(&mut alice, &mut desk);
        scenario::call((&mut alice, tone(DESK)), (&mut desk, tone(ALICE)));
        scenario::hang_up(&mut alice, &mut desk);
        std::mem::swap(&mut alice, &mut desk);
    }
}

#[test]
fn a_phone_that_uses_ice_is_answered_by_an_edge_that_does() {
    let mut scene = Scene::pair();
    let mut alice = scene.phone(ALICE, |plan| plan.has_ice = true);
    let mut desk = scene.desk(DESK, usual);

    scenario::call((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
    scenario::hold_and_resume((&mut alice, tone(ALICE)), (&mut desk, tone(DESK)));
    scenario::hang_up(&mut alice, &mut desk);

    let log = alice.log().unwrap();
    assert!(log.contains("a=ice-lite"), "{log}");
    assert!(log.contains("a=candidate:"), "{log}");
}

#[test]
fn a_client_that_comes_back_over_another_connection_goes_on_with_its_call() {
    let mut scene = Scene::pair();
    let (mut alice, home) = scene.agent(ALICE);
    let (mut desk, inside) = scene.inner_agent(DESK);
    assert_eq!(alice.register(300).unwrap().status(), Some(200));
    let outer = Voice::new(&home.place, home.address, true).unwrap();
    let inner = Voice::new(&inside.place, inside.address, false).unwrap();
    let mut talk = scenario::connect((&mut alice, &outer), (&mut desk, &inner));

    drop(alice);
    let (mut alice, _) = scene.agent(ALICE);
    assert_eq!(alice.register(300).unwrap().status(), Some(200));

    // From either side, and what was agreed before goes on.
    desk.request(&mut talk.called, "INFO", "", "").unwrap();
    let info = alice.wait_request("INFO").unwrap();
    alice.respond(&info, "200 OK", "", "").unwrap();
    assert_eq!(
        desk.wait_final(&mut talk.called, "INFO").unwrap().status(),
        Some(200)
    );
    let _inward = outer.speak(audio_address(&talk.answer).unwrap(), tone(ALICE));
    let _outward = inner.speak(audio_address(&talk.offer).unwrap(), tone(DESK));
    let keys = keys_of(&talk.answer).unwrap();
    assert!(hears(&inner, None, ALICE) && hears(&outer, Some(&keys), DESK));
    scenario::bye(&mut alice, &mut talk.caller, &mut desk);
}

#[test]
fn a_call_outlives_a_link_that_was_dead() {
    let mut scene = Scene::pair();
    let (mut alice, home) = scene.agent(ALICE);
    let (mut desk, inside) = scene.inner_agent(DESK);
    assert_eq!(alice.register(300).unwrap().status(), Some(200));
    let outer = Voice::new(&home.place, home.address, true).unwrap();
    let inner = Voice::new(&inside.place, inside.address, false).unwrap();
    let mut talk = scenario::connect((&mut alice, &outer), (&mut desk, &inner));
    let _inward = outer.speak(audio_address(&talk.answer).unwrap(), tone(ALICE));
    let _outward = inner.speak(audio_address(&talk.offer).unwrap(), tone(DESK));

    // edge-e gives the client up when it knows that the link is dead: nobody could answer it.
    scene.zones().cut_link().unwrap();
    assert!(alice.wait_for(DEAD, |_| false).is_err(), "{}", scene.logs());
    scene.zones().mend_link().unwrap();

    inner.forget().unwrap();
    outer.forget().unwrap();
    let keys = keys_of(&talk.answer).unwrap();
    assert!(hears(&inner, None, ALICE), "{}", scene.logs());
    assert!(hears(&outer, Some(&keys), DESK), "{}", scene.logs());
    // Media has a way of its own, which may be back before that of signalling.
    let pair = &mut scene.stage().pair;
    pair.edges[0].wait_ready().unwrap();
    pair.cores[0].wait_ready().unwrap();
    let (mut alice, _) = scene.agent(ALICE);
    assert_eq!(alice.register(300).unwrap().status(), Some(200));
    scenario::bye(&mut desk, &mut talk.called, &mut alice);
}

#[test]
fn phones_at_two_edges_call_each_other_and_one_dies() {
    let mut scene = Scene::pair_with(&Setup {
        size: Size::TWO,
        ..Setup::USUAL
    });
    let mut alice = scene.phone(ALICE, usual);
    let second = SocketAddr::new(first(netns::public(12)), 5061);
    let mut bob = scene.phone(BOB, |plan| plan.proxy = second);
    let mut desk = scene.desk(DESK, usual);

    scenario::call((&mut alice, tone(ALICE)), (&mut bob, tone(BOB)));
    scenario::hang_up(&mut alice, &mut bob);
    scenario::call((&mut desk, tone(DESK)), (&mut bob, tone(BOB)));
    scenario::hang_up(&mut bob, &mut desk);

    scene.stage().pair.edges[0].kill().unwrap();
    scenario::call((&mut bob, tone(BOB)), (&mut desk, tone(DESK)));
    scenario::hang_up(&mut bob, &mut desk);
}

#[test]
fn a_client_registers_with_a_token_where_the_registrar_takes_tokens() {
    let mut scene = Scene::pair_with(&Setup {
        transport: "tls",
        challenges: false,
        takes_tokens: true,
        ..Setup::USUAL
    });
    let (mut alice, home) = scene.agent(ALICE);
    let (mut desk, inside) = scene.inner_agent(DESK);

    let asked = alice.register(300).unwrap();
    assert_eq!(asked.status(), Some(401), "{asked:#?}");
    let challenge = asked.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer authz_server="), "{challenge}");
    let wrong = alice
        .register_with(300, "Authorization: Bearer other\r\n")
        .unwrap();
    assert_eq!(wrong.status(), Some(401), "{wrong:#?}");
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let answer = alice.register_with(300, &token).unwrap();
    assert_eq!(answer.status(), Some(200), "{answer:#?}\n{}", scene.logs());

    let outer = Voice::new(&home.place, home.address, true).unwrap();
    let inner = Voice::new(&inside.place, inside.address, false).unwrap();
    let mut talk = scenario::connect((&mut alice, &outer), (&mut desk, &inner));
    scenario::bye(&mut desk, &mut talk.called, &mut alice);
    assert!(!scene.stage().logs().contains(TOKEN), "a token is a secret");
}

/// Whose tokens count where the edge verifies them.
static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::ec("k1"));

fn verify_tokens(stage: &mut Stage) {
    let file = stage.path().join("issuer.json");
    std::fs::write(&file, SIGNER.jwks()).unwrap();
    let mut issuer = toml! {
        name = "corp"
        kind = "static"
        issuer = "https://idp.example.com"
        audiences = ["urn:edge:sip"]
        algorithms = ["ES256"]
    };
    issuer.insert(
        "keys".to_owned(),
        vec![file.to_string_lossy().into_owned()].into(),
    );
    let core = &mut stage.pair.cores[0];
    core.config_mut()
        .insert("issuer".to_owned(), vec![issuer].into());
    core.set("sip", "tokens", "verify");
}

#[test]
fn a_token_that_the_edge_has_verified_registers_and_no_other_reaches_the_registrar() {
    let mut scene = Scene::pair_with(&Setup {
        challenges: false,
        more: verify_tokens,
        ..Setup::USUAL
    });
    let (mut alice, home) = scene.agent(ALICE);
    let (mut desk, inside) = scene.inner_agent(DESK);
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = since_1970.unwrap().as_secs();
    let token = |signer: &Signer, name: &str, expires: u64| {
        let claims = json!({ "iss": "https://idp.example.com", "aud": "urn:edge:sip", "sub": name, "exp": expires });
        format!("Authorization: Bearer {}\r\n", signer.token(&claims))
    };
    let own = user(ALICE);

    // More often than an attacker may.
    for _ in 0..8 {
        let answer = alice.register_with(300, &token(&SIGNER, &own, now - 60));
        let answer = answer.unwrap();
        assert_eq!(answer.status(), Some(401), "{answer:#?}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(
            challenge.starts_with("Bearer realm=\"example.com\""),
            "{challenge}"
        );
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    for wrong in [
        token(&SIGNER, &user(BOB), now + 600),
        token(&Signer::ec("k1"), &own, now + 600),
    ] {
        let answer = alice.register_with(300, &wrong).unwrap();
        assert_eq!(answer.status(), Some(401), "{answer:#?}");
    }
    let good = token(&SIGNER, &own, now + 600);
    let answer = alice.register_with(300, &good).unwrap();
    assert_eq!(answer.status(), Some(200), "{answer:#?}\n{}", scene.logs());

    let outer = Voice::new(&home.place, home.address, true).unwrap();
    let inner = Voice::new(&inside.place, inside.address, false).unwrap();
    let mut talk = scenario::connect((&mut alice, &outer), (&mut desk, &inner));
    scenario::bye(&mut desk, &mut talk.called, &mut alice);
    let core = &scene.stage().pair.cores[0];
    let page = core.ask_admin("/metrics").unwrap().1;
    for (reason, count) in [("expired_token", 8), ("wrong_token", 2)] {
        let line = format!("edge_sip_refusals_total{{reason=\"{reason}\"}} {count}");
        assert!(page.contains(&line), "{line}\n{page}");
    }
    // Only the forged one was an attack.
    assert!(
        page.contains("edge_sip_authentication_failures_total 1\n"),
        "{page}"
    );
    let logs = scene.stage().logs();
    assert!(logs.contains("the token has expired"), "{logs}");
    let secret = good.trim_end().rsplit(' ').next().unwrap();
    assert!(!logs.contains(secret), "a token is a secret");
}

#[test]
fn everything_goes_over_ipv6() {
    let scene = Scene::pair_with(&Setup {
        transport: "udp",
        is_ipv6: true,
        more: |stage| {
            let [_, public] = netns::public(11);
            let edge = &mut stage.pair.edges[0];
            edge.set(
                "sip",
                "listen",
                vec![SocketAddr::new(public, 5061).to_string()],
            );
            edge.set("media", "listen", vec![public.to_string()]);
            let [_, own] = netns::inside(20);
            let core = &mut stage.pair.cores[0];
            let listen = ["udp", "tcp"].map(|transport| format!("{transport}:[{own}]:5060"));
            core.set("sip", "listen", listen.to_vec());
            core.set("media", "listen", vec![own.to_string()]);
            core.set("media", "networks", vec!["fd00:9:1::/64".to_owned()]);
        },
        ..Setup::USUAL
    });
    let (client, inside) = (scene.zones().client(), scene.zones().inside());
    let ([_, home], [_, phone]) = (netns::public(100), netns::inside(80));
    let [_, edge] = netns::public(11);
    let authority = scene.path().join("public/ca.pem");
    let edge = SocketAddr::new(edge, 5061);
    let dialer = Dialer::new(&client, edge, &edge_name(1), &authority, &[]).unwrap();
    let mut alice = Agent::over_tls(&dialer, &user(ALICE), DOMAIN).unwrap();
    let [_, registrar] = netns::inside(61);
    let (local, registrar) = (
        SocketAddr::new(phone, 5070),
        SocketAddr::new(registrar, 5060),
    );
    let mut desk = Agent::over_udp(&inside, local, registrar, &user(DESK), DOMAIN).unwrap();
    for agent in [&mut alice, &mut desk] {
        let answer = agent.register(300).unwrap();
        assert_eq!(answer.status(), Some(200), "{answer:#?}");
    }
    assert!(alice.local().unwrap().is_ipv6());

    let outer = Voice::new(&client, home, true).unwrap();
    let inner = Voice::new(&inside, phone, false).unwrap();
    let mut talk = scenario::connect((&mut alice, &outer), (&mut desk, &inner));
    assert_eq!(audio_address(&talk.answer).unwrap().ip(), edge.ip());
    let _inward = outer.speak(audio_address(&talk.answer).unwrap(), tone(ALICE));
    let _outward = inner.speak(audio_address(&talk.offer).unwrap(), tone(DESK));
    let keys = keys_of(&talk.answer).unwrap();
    assert!(hears(&inner, None, ALICE) && hears(&outer, Some(&keys), DESK));
    scenario::bye(&mut desk, &mut talk.called, &mut alice);
}

#[test]
fn a_conference_channel_passes_and_an_unknown_line_is_refused_in_its_place() {
    let mut scene = Scene::pair();
    let (mut alice, home) = scene.agent(ALICE);
    let (mut desk, inside) = scene.inner_agent(DESK);
    assert_eq!(alice.register(300).unwrap().status(), Some(200));
    let outer = Voice::new(&home.place, home.address, true).unwrap();
    let inner = Voice::new(&inside.place, inside.address, false).unwrap();
    let (outer_floor, inner_floor) = (
        home.place.udp(SocketAddr::new(home.address, 0)).unwrap(),
        inside
            .place
            .udp(SocketAddr::new(inside.address, 0))
            .unwrap(),
    );
    let lines = |floor: &UdpSocket| {
        let port = floor.local_addr().unwrap().port();
        format!(
            "m=application {port} UDP/BFCP *\r\na=floorctrl:c-s\r\na=confid:1\r\na=userid:2\r\n\
             m=whiteboard 4000 TCP/FOO *\r\na=x-unknown:stays\r\n"
        )
    };

    let offer = format!("{}{}", outer.sdp().unwrap(), lines(&outer_floor));
    let target = desk.aor();
    let (seen, answer) = std::thread::scope(|scope| {
        let call = scope.spawn(|| alice.call(&target, &offer).unwrap());
        let invite = desk.wait_request("INVITE").unwrap();
        let body = format!("{}{}", inner.answer(&invite).unwrap(), lines(&inner_floor));
        let body = body.replace("m=whiteboard 4000", "m=whiteboard 0");
        desk.respond(&invite, "200 OK", SDP, &body).unwrap();
        desk.wait_request("ACK").unwrap();
        (invite, call.join().unwrap().1)
    });

    for message in [&seen, &answer] {
        let lines = message.body.lines().filter(|line| line.starts_with("m="));
        let kinds: Vec<&str> = lines.map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(
            kinds,
            ["m=audio", "m=application", "m=whiteboard"],
            "{}",
            message.body
        );
        assert!(
            message.body.contains("m=whiteboard 0 TCP/FOO *"),
            "{}",
            message.body
        );
        assert!(
            message
                .body
                .contains("a=floorctrl:c-s\r\na=confid:1\r\na=userid:2")
        );
    }
    let place = |message: &support::sip::agent::Message| {
        let mut place = audio_address(message).unwrap();
        let line = message.sdp("m=application ").unwrap();
        place.set_port(line.split(' ').next().unwrap().parse().unwrap());
        place
    };
    // The client is the first to speak: only then is it known where it is.
    let hello = bfcp(1);
    assert_eq!(
        deliver(&outer_floor, &hello, place(&answer), &inner_floor),
        hello
    );
    let status = bfcp(2);
    assert_eq!(
        deliver(&inner_floor, &status, place(&seen), &outer_floor),
        status
    );
    let mut dialog = Dialog::of_request(&seen).unwrap();
    scenario::bye(&mut desk, &mut dialog, &mut alice);
}

/// A message of BFCP (RFC 8855 section 5.1): version 2, this primitive, nothing in it.
fn bfcp(primitive: u8) -> Vec<u8> {
    vec![0x40, primitive, 0, 0, 0, 0, 0, 1, 0, 1, 0, 2]
}

/// What `receiver` hears of a message that is sent again until it is heard, as clients do (RFC 8855 section 8.3.1).
fn deliver(sender: &UdpSocket, message: &[u8], to: SocketAddr, receiver: &UdpSocket) -> Vec<u8> {
    let pause = Duration::from_millis(500);
    receiver.set_read_timeout(Some(pause)).unwrap();
    let mut bytes = [0; 1500];
    let mut heard = (0..10).map(|_| {
        sender.send_to(message, to).unwrap();
        receiver.recv(&mut bytes)
    });
    let count = heard.find_map(Result::ok).unwrap();
    bytes[..count].to_vec()
}

/// After so long everybody knows that the link is dead.
const DEAD: Duration = Duration::from_secs(40);
