//! Session timers (RFC 4028) are the business of those who talk: what they say of them passes as it is.

use support::sip::voice::Voice;

use super::scenario;
use super::scene::{ALICE, MACHINE, Scene};

#[test]
fn session_timers_are_agreed_and_refreshed_end_to_end() {
    let mut scene = Scene::pair();
    let (mut agent, spot) = scene.agent(ALICE);
    agent.register(300).unwrap();
    let (mut machine, inner) = scene.inner_agent(MACHINE);
    let voice = Voice::new(&spot.place, spot.address, true).unwrap();
    let inner = Voice::new(&inner.place, inner.address, false).unwrap();

    // One that is too short is refused by whom it concerns.
    let mut dialog = agent.dialog(&machine.aor()).unwrap();
    let timer = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\nContent-Type: application/sdp\r\n";
    std::thread::scope(|scope| {
        let sdp = voice.sdp().unwrap();
        let (agent, dialog) = (&mut agent, &mut dialog);
        let call = scope.spawn(move || agent.exchange(dialog, "INVITE", timer, &sdp).unwrap());
        let invite = machine.wait_request("INVITE").unwrap();
        assert_eq!(invite.header("session-expires"), Some("90;refresher=uac"));
        machine
            .respond(
                &invite,
                "422 Session Interval Too Small",
                "Min-SE: 300\r\n",
                "",
            )
            .unwrap();
        let answer = call.join().unwrap();
        assert_eq!(
            (answer.status(), answer.header("min-se")),
            (Some(422), Some("300")),
            "{answer:#?}"
        );
        machine.wait_request("ACK").unwrap();
    });

    let mut talk = scenario::connect((&mut agent, &voice), (&mut machine, &inner));
    for _ in 0..2 {
        let refresh = "Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\n";
        agent
            .request(&mut talk.caller, "UPDATE", refresh, "")
            .unwrap();
        let update = machine.wait_request("UPDATE").unwrap();
        assert_eq!(update.header("session-expires"), Some("1800;refresher=uac"));
        let agreed = "Require: timer\r\nSession-Expires: 1800;refresher=uac\r\n";
        machine.respond(&update, "200 OK", agreed, "").unwrap();
        let answer = agent.wait_final(&mut talk.caller, "UPDATE").unwrap();
        assert_eq!(
            answer.header("session-expires"),
            Some("1800;refresher=uac"),
            "{answer:#?}"
        );
    }
    scenario::bye(&mut machine, &mut talk.called, &mut agent);
}
