//! Datagrams from strangers, with wrong keys, or twice; and session descriptions that point where nobody may send.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use support::netns;
use support::place::Place;
use support::sip::agent::Agent;
use support::sip::voice::{Voice, audio_address, keys_of};

use crate::calling::scenario::{self, Talk};
use crate::calling::scene::{ALICE, MACHINE, Scene, first};

/// A call between an agent outside, sealed, and one inside, plain, in which nobody has spoken yet.
struct Call {
    scene: Scene,
    agent: Agent,
    machine: Agent,
    outer: Voice,
    inner: Voice,
    talk: Talk,
    /// The port on edge-e that the one outside was told of.
    public: SocketAddr,
    /// The port on edge-c that the one inside was told of.
    private: SocketAddr,
}

impl Call {
    fn start() -> Self {
        let mut scene = Scene::pair();
        let (mut agent, spot) = scene.agent(ALICE);
        assert_eq!(agent.register(300).unwrap().status(), Some(200));
        let (mut machine, desk) = scene.inner_agent(MACHINE);
        let outer = Voice::new(&spot.place, spot.address, true).unwrap();
        let inner = Voice::new(&desk.place, desk.address, false).unwrap();
        let talk = scenario::connect((&mut agent, &outer), (&mut machine, &inner));
        Self {
            public: audio_address(&talk.answer).unwrap(),
            private: audio_address(&talk.offer).unwrap(),
            scene,
            agent,
            machine,
            outer,
            inner,
            talk,
        }
    }

    /// The rightful one speaks, and hears the other within that time.
    fn assert_heard_within(&self, limit: Duration) {
        let keys = keys_of(&self.talk.answer).unwrap();
        let _inner = self.inner.speak(self.private, INNER).unwrap();
        let _outer = self.outer.speak(self.public, OUTER).unwrap();
        let start = Instant::now();
        let first = self.outer.hear(Some(&keys), 1, limit).unwrap();
        assert!(
            !first.length().is_zero(),
            "nothing within {limit:?}\n{}",
            self.scene.logs()
        );
        assert!(start.elapsed() < limit);
        let heard = self.outer.hear(Some(&keys), 25, LONG).unwrap();
        assert!(heard.share_of(INNER) > 0.9, "{}", heard.share_of(INNER));
        self.inner.forget().unwrap();
        let heard = self.inner.hear(None, 25, LONG).unwrap();
        assert!(heard.share_of(OUTER) > 0.9, "{}", heard.share_of(OUTER));
    }

    fn end(mut self) {
        scenario::bye(&mut self.agent, &mut self.talk.caller, &mut self.machine);
        self.scene.zones().assert_nothing_refused().unwrap();
    }
}

#[test]
fn a_spray_over_the_port_range_gets_nothing_and_delays_nobody() {
    let call = Call::start();
    let client = call.scene.zones().client();
    let stranger = Voice::new(&client, first(netns::public(102)), true).unwrap();
    let _inner = call.inner.speak(call.private, INNER).unwrap();

    spray(&stranger, call.public.ip());
    call.assert_heard_within(PROMPT);
    spray(&stranger, call.public.ip());

    let packet = stranger.receive(SHORT).unwrap();
    assert_eq!(packet, None, "{}", call.scene.logs());
    call.assert_heard_within(PROMPT);
    call.end();
}

#[test]
fn the_wrong_keys_latch_nothing_and_reach_nobody_inside() {
    let call = Call::start();
    let client = call.scene.zones().client();
    let stranger = Voice::new(&client, first(netns::public(102)), true).unwrap();
    let plain = Voice::new(&client, first(netns::public(103)), false).unwrap();
    let inner = call.inner.speak(call.private, INNER).unwrap();
    call.inner.forget().unwrap();

    let speakers = [&stranger, &plain].map(|voice| voice.speak(call.public, 1000).unwrap());
    for voice in [&stranger, &plain] {
        assert_eq!(voice.receive(SHORT).unwrap(), None, "{}", call.scene.logs());
    }
    assert_eq!(
        call.inner.receive(SHORT).unwrap(),
        None,
        "{}",
        call.scene.logs()
    );
    drop(inner);
    call.assert_heard_within(PROMPT);
    for voice in [&stranger, &plain] {
        assert_eq!(voice.receive(SHORT).unwrap(), None, "{}", call.scene.logs());
    }
    drop(speakers);
    call.end();
}

#[test]
fn what_was_said_once_is_not_heard_twice() {
    let call = Call::start();
    call.assert_heard_within(PROMPT);
    // The speaker has stopped: these numbers are new, and far ahead.
    let packets: Vec<Vec<u8>> = (30_000..30_010)
        .map(|number| call.outer.packet(number, OUTER).unwrap())
        .collect();
    let client = call.scene.zones().client();
    let stranger = Voice::new(&client, first(netns::public(102)), false).unwrap();
    while call.inner.receive(SHORT).unwrap().is_some() {}

    for packet in &packets {
        call.outer.socket().send_to(packet, call.public).unwrap();
    }
    let first_time = count(&call.inner);
    for packet in &packets {
        call.outer.socket().send_to(packet, call.public).unwrap();
        stranger.socket().send_to(packet, call.public).unwrap();
    }
    let second_time = count(&call.inner);

    assert_eq!(
        (first_time, second_time),
        (packets.len(), 0),
        "{}",
        call.scene.logs()
    );
    let _inner = call.inner.speak(call.private, INNER).unwrap();
    assert_eq!(stranger.receive(SHORT).unwrap(), None);
    call.end();
}

#[test]
fn a_session_description_makes_nobody_a_target() {
    let mut scene = Scene::pair();
    let (mut agent, spot) = scene.agent(ALICE);
    assert_eq!(agent.register(300).unwrap().status(), Some(200));
    let (mut machine, desk) = scene.inner_agent(MACHINE);
    // Whom the one outside names: a server inside, and edge-c itself.
    let victims = [netns::inside(80), netns::inside(20)].map(first);
    // Whom the one inside names: edge-e, and another host outside.
    let others = [netns::link(11), netns::public(103)].map(first);
    for (victim, other) in victims.into_iter().zip(others) {
        let zones = scene.zones();
        let place = if other == first(netns::link(11)) {
            zones.dmz()
        } else {
            zones.client()
        };
        let watched = [(zones.inside(), victim), (place, other)]
            .map(|(place, address)| watch(&place, address));
        let [named_outside, named_inside] =
            [&watched[0], &watched[1]].map(|voice| voice.socket().local_addr().unwrap());
        let outer = Voice::new(&spot.place, spot.address, true).unwrap();
        let inner = Voice::new(&desk.place, desk.address, false).unwrap();
        let offer = outer.sdp_at(named_outside);
        let answer = inner.sdp_at(named_inside);

        let target = machine.aor();
        let mut talk = std::thread::scope(|scope| {
            let agent = &mut agent;
            let call = scope.spawn(move || agent.call(&target, &offer).unwrap());
            let invite = machine.wait_request("INVITE").unwrap();
            machine
                .respond(&invite, "200 OK", support::sip::agent::SDP, &answer)
                .unwrap();
            machine.wait_request("ACK").unwrap();
            let (caller, answer) = call.join().unwrap();
            (caller, answer, invite)
        });
        let _inner = inner.speak(audio_address(&talk.2).unwrap(), INNER).unwrap();
        let _outer = outer.speak(audio_address(&talk.1).unwrap(), OUTER).unwrap();

        for voice in &watched {
            assert_eq!(voice.receive(SHORT).unwrap(), None, "{}", scene.logs());
        }
        scenario::bye(&mut agent, &mut talk.0, &mut machine);
    }
    scene.zones().assert_nothing_refused().unwrap();
}

fn watch(place: &Place, address: IpAddr) -> Voice {
    Voice::new(place, address, false).unwrap()
}

/// Packets that look like media, to every port that media may have.
fn spray(voice: &Voice, target: IpAddr) {
    let packet = voice.packet(7, 1000).unwrap();
    for port in 36_000..60_000 {
        // A full queue is as good as a lost packet.
        drop(voice.socket().send_to(&packet, (target, port)));
    }
}

fn count(voice: &Voice) -> usize {
    std::iter::from_fn(|| voice.receive(SHORT).unwrap()).count()
}

const INNER: u32 = 600;
const OUTER: u32 = 450;
const SHORT: Duration = Duration::from_millis(400);
/// No longer than a person notices.
const PROMPT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(5);
