//! Requests that nobody may send.

use support::netns;
use support::sip::agent::{Agent, Message, SDP};
use support::sip::voice::Voice;

use crate::calling::scenario;
use crate::calling::scene::{ALICE, BOB, CAROL, MACHINE, Scene, Setup, aor, first};
use crate::stage::DOMAIN;

#[test]
fn nobody_speaks_before_the_registrar_has_let_them_in() {
    let mut scene = Scene::pair();
    let (mut agent, _) = scene.agent(ALICE);
    let (mut guesser, _) = scene.agent(BOB);
    let mut guesser = {
        let answer = guesser.register(300).unwrap();
        assert_eq!(answer.status(), Some(200));
        let (fresh, _) = scene.agent(BOB);
        fresh.password("guess")
    };

    let (_, answer) = agent.invite(&aor(MACHINE), "", "").unwrap();
    assert_eq!(answer.status(), Some(403), "{answer:#?}");
    // Not after a wrong password either.
    let answer = guesser.register(300).unwrap();
    assert_eq!(answer.status(), Some(401), "{answer:#?}");
    let (_, answer) = guesser.invite(&aor(MACHINE), "", "").unwrap();
    assert_eq!(answer.status(), Some(403), "{answer:#?}");

    assert_eq!(agent.register(300).unwrap().status(), Some(200));
    let (_, answer) = agent.invite(&aor(CAROL), "", "").unwrap();
    assert_eq!(answer.status(), Some(480), "{answer:#?}");
}

#[test]
fn a_registrar_that_believes_everybody_lets_nobody_in() {
    let mut scene = Scene::pair_with(&Setup {
        challenges: false,
        ..Setup::USUAL
    });
    let (mut agent, _) = scene.agent(ALICE);
    let (mut machine, _) = scene.inner_agent(MACHINE);

    agent.register(300).unwrap();
    let (_, answer) = agent.invite(&machine.aor(), "", "").unwrap();

    assert_eq!(answer.status(), Some(403), "{answer:#?}\n{}", scene.logs());
    let invite = machine.wait_for(BRIEF, |message| message.method() == Some("INVITE"));
    assert!(invite.unwrap().is_none());
    // And the registrar does not send calls there: it knows of nobody, and says so itself.
    let (_, answer) = machine.invite(&aor(ALICE), "", "").unwrap();
    assert_eq!(answer.status(), Some(480), "{answer:#?}");
    assert!(answer.header("server").is_some(), "{answer:#?}");
}

#[test]
fn nobody_calls_in_the_name_of_another() {
    let mut scene = Scene::pair();
    let (mut agent, _) = scene.agent(ALICE);
    assert_eq!(agent.register(300).unwrap().status(), Some(200));
    let (mut machine, _) = scene.inner_agent(MACHINE);

    let mut dialog = agent.dialog(&machine.aor()).unwrap();
    dialog.local = format!("<{}>;tag=another", aor(BOB));
    let answer = agent.exchange(&mut dialog, "INVITE", SDP, "").unwrap();
    assert_eq!(answer.status(), Some(403), "{answer:#?}");
    // What only servers may say of somebody does not pass.
    let claim = format!("P-Asserted-Identity: <{}>\r\n", aor(BOB));
    let mut dialog = agent.dialog(&machine.aor()).unwrap();
    agent.request(&mut dialog, "INVITE", &claim, "").unwrap();
    let claims = |message: &Message| message.header("p-asserted-identity").is_some();
    let claimed = machine.wait_for(BRIEF, claims).unwrap();
    assert!(claimed.is_none(), "{claimed:#?}");
    // Nor is a number of somebody else's registered.
    let mut dialog = agent.dialog(&aor(BOB)).unwrap();
    dialog.target = format!("sip:{DOMAIN}");
    let answer = agent
        .exchange(&mut dialog, "REGISTER", "Expires: 300\r\n", "")
        .unwrap();
    assert_eq!(answer.status(), Some(403), "{answer:#?}");
}

#[test]
fn a_forged_flow_token_opens_no_way_to_a_phone() {
    let mut scene = Scene::pair();
    let (mut agent, spot) = scene.agent(ALICE);
    assert_eq!(agent.register(300).unwrap().status(), Some(200));
    let (mut machine, inner) = scene.inner_agent(MACHINE);
    let voice = Voice::new(&spot.place, spot.address, true).unwrap();
    let heard = Voice::new(&inner.place, inner.address, false).unwrap();
    let mut talk = scenario::connect((&mut agent, &voice), (&mut machine, &heard));
    let routes: Vec<String> = talk.offer.all("record-route").map(str::to_owned).collect();
    let own = routes
        .iter()
        .find(|route| route.contains('@'))
        .cloned()
        .unwrap();

    // Straight to edge-c, past the registrar, by the route that the true token has.
    let core = std::net::SocketAddr::new(first(netns::inside(20)), 5060);
    let local = std::net::SocketAddr::new(inner.address, 5070);
    let mut stranger = Agent::over_udp(&inner.place, local, core, "1072", DOMAIN).unwrap();
    let mut ask = |route: &str| {
        let mut dialog = stranger.dialog(&aor(ALICE)).unwrap();
        dialog.routes = vec![route.to_owned()];
        stranger
            .exchange(&mut dialog, "OPTIONS", "", "")
            .unwrap()
            .status()
    };
    for at in [1, 10, 20, 30] {
        assert_eq!(ask(&forge(&own, at)), Some(403), "{own}\n{}", scene.logs());
    }
    scenario::bye(&mut machine, &mut talk.called, &mut agent);
}

/// The same route with another character at a place of its token.
fn forge(route: &str, at: usize) -> String {
    let (before, rest) = route.split_once("sip:").unwrap();
    let (token, after) = rest.split_once('@').unwrap();
    let forged: String = token
        .chars()
        .enumerate()
        .map(|(number, character)| match character {
            'A' if number == at => 'B',
            _ if number == at => 'A',
            _ => character,
        })
        .collect();
    format!("{before}sip:{forged}@{after}")
}

const BRIEF: std::time::Duration = std::time::Duration::from_millis(500);
