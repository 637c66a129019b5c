//! What phones do with each other, whatever stands between them. Each leaves the phones as it found them: idle.

use std::time::{Duration, Instant, SystemTime};

use support::sip::agent::{Agent, Dialog, Message, SDP};
use support::sip::phone::Phone;
use support::sip::voice::{Voice, audio_address};
use support::wait;

use super::scene::{ALICE, BOB, CAROL, DAVE, Scene, rings, tone, user, usual};

/// What phones outside do every day: talk with pictures, hold, press keys, give up, refuse, hear a busy tone.
pub(crate) fn everyday(scene: &mut Scene) {
    let mut alice = scene.phone(ALICE, |plan| plan.has_video = true);
    let mut bob = scene.phone(BOB, |plan| {
        plan.has_video = true;
        plan.calls_max = 1;
    });
    let mut carol = scene.phone(CAROL, rings);
    let (mut machine, spot) = scene.agent(DAVE);
    let voice = Voice::new(&spot.place, spot.address, true).unwrap();
    let answer = machine.register(300).unwrap();
    assert_eq!(answer.status(), Some(200), "{answer:#?}");

    call((&mut alice, tone(ALICE)), (&mut bob, tone(BOB)));
    see_each_other(&alice, &bob);
    hold_and_resume((&mut alice, tone(ALICE)), (&mut bob, tone(BOB)));
    hold_and_resume((&mut bob, tone(BOB)), (&mut alice, tone(ALICE)));
    press_keys(&mut alice, &mut bob);
    busy(&mut carol, &mut bob);
    hang_up(&mut bob, &mut alice);
    cancel(&mut alice, &mut carol);
    reject(&mut alice, &mut carol);
    busy_tone(&mut alice, &mut machine, &voice);
}

/// A call is transferred, a dead phone called, and one of two phones of a user answers.
pub(crate) fn moved_and_forked(scene: &mut Scene) {
    let mut alice = scene.phone(ALICE, usual);
    let mut bob = scene.phone(BOB, usual);
    let mut carol = scene.phone(CAROL, usual);

    call((&mut alice, tone(ALICE)), (&mut bob, tone(BOB)));
    transfer(&mut alice, (&mut bob, tone(BOB)), (&mut carol, tone(CAROL)));
    hang_up(&mut bob, &mut carol);
    call_the_dead(&mut alice, &mut carol);

    drop(bob);
    let mut bob = scene.phone(BOB, rings);
    let mut second = scene.phone(DAVE, |plan| {
        plan.user = user(BOB);
        plan.device = 2;
        rings(plan);
    });
    fork(
        (&mut alice, tone(ALICE)),
        (&mut second, tone(DAVE)),
        &mut bob,
    );
}

/// One calls another, which answers; both hear the other. Ends with the call up.
pub(crate) fn call(caller: (&mut Phone, u32), callee: (&mut Phone, u32)) {
    let ((caller, own), (callee, other)) = (caller, callee);
    callee.forget_events();
    caller.dial(callee.aor()).unwrap();
    caller.wait_established().unwrap();
    callee.wait_established().unwrap();
    hear(caller, other);
    hear(callee, own);
}

/// Somebody hears a tone for a while, from now on.
pub(crate) fn hear(phone: &Phone, hertz: u32) {
    phone.wait_tone(hertz, AWHILE).unwrap();
}

/// One of two ends their call.
pub(crate) fn hang_up(first: &mut Phone, other: &mut Phone) {
    first.hang_up().unwrap();
    other.wait_closed().unwrap();
}

/// One of two in a call puts the other on hold and comes back.
pub(crate) fn hold_and_resume(holder: (&mut Phone, u32), held: (&mut Phone, u32)) {
    let ((holder, own), (held, other)) = (holder, held);
    holder.command("hold", "").unwrap();
    holder.wait_silence(AWHILE).unwrap();

    holder.command("resume", "").unwrap();

    holder.wait_incoming(other, AWHILE).unwrap();
    held.wait_incoming(own, AWHILE).unwrap();
}

/// One of two in a call presses keys, which the other sees.
pub(crate) fn press_keys(presser: &mut Phone, other: &mut Phone) {
    other.forget_events();
    for key in ["5", "#"] {
        presser.command("sndcode", key).unwrap();
        let event = other
            .wait("a key", |event| event.kind == "CALL_DTMF_START")
            .unwrap();
        assert_eq!(event.parameter, key);
        other
            .wait("its end", |event| event.kind == "CALL_DTMF_END")
            .unwrap();
        // Presses are as long as they are held.
        presser.command("sndcode", "\x04").unwrap();
    }
}

/// One gives up while the other's phone rings.
pub(crate) fn cancel(caller: &mut Phone, ringing: &mut Phone) {
    ringing.forget_events();
    caller.dial(ringing.aor()).unwrap();
    ringing.wait_call("CALL_INCOMING").unwrap();
    caller.wait_call("CALL_RINGING").unwrap();

    caller.hang_up().unwrap();

    ringing.wait_closed().unwrap();
    assert!(ringing.is_idle().unwrap());
}

/// The one who is called refuses.
pub(crate) fn reject(caller: &mut Phone, ringing: &mut Phone) {
    ringing.forget_events();
    caller.dial(ringing.aor()).unwrap();
    caller.wait_call("CALL_RINGING").unwrap();

    ringing.hang_up().unwrap();

    let end = caller.wait_closed().unwrap();
    assert!(end.parameter.starts_with("486"), "{end:?}");
}

/// The one who is called, or a machine on the way, speaks before anybody answers, and then refuses: a busy tone.
pub(crate) fn busy_tone(caller: &mut Phone, machine: &mut Agent, voice: &Voice) {
    caller.dial(&machine.aor()).unwrap();
    let invite = machine.wait_request("INVITE").unwrap();
    machine
        .respond(
            &invite,
            "183 Session Progress",
            SDP,
            &voice.answer(&invite).unwrap(),
        )
        .unwrap();
    caller.wait_call("CALL_PROGRESS").unwrap();
    let speaker = voice.speak(audio_address(&invite).unwrap(), BUSY).unwrap();
    hear(caller, BUSY);

    machine.respond(&invite, "486 Busy Here", "", "").unwrap();

    let end = caller.wait_closed().unwrap();
    assert!(end.parameter.starts_with("486"), "{end:?}");
    machine.wait_request("ACK").unwrap();
    drop(speaker);
}

/// One more call than the phone takes.
pub(crate) fn busy(caller: &mut Phone, busy: &mut Phone) {
    caller.dial(busy.aor()).unwrap();
    let end = caller.wait_closed().unwrap();
    assert!(end.parameter.starts_with("486"), "{end:?}");
}

/// One of two in a call sends the other to a third, and is out of it; the two others hear each other.
pub(crate) fn transfer(from: &mut Phone, moved: (&mut Phone, u32), to: (&mut Phone, u32)) {
    let ((moved, own), (to, other)) = (moved, to);
    moved.forget_events();
    to.forget_events();
    from.command("transfer", to.aor()).unwrap();
    to.wait_established().unwrap();
    moved.wait_established().unwrap();
    from.wait_closed().unwrap();
    moved.wait_incoming(other, AWHILE).unwrap();
    to.wait_incoming(own, AWHILE).unwrap();
}

/// Two phones of one user ring; the one that answers has the call, and the other is quiet.
pub(crate) fn fork(caller: (&mut Phone, u32), answers: (&mut Phone, u32), other: &mut Phone) {
    let ((caller, own), (answers, tone)) = (caller, answers);
    answers.forget_events();
    other.forget_events();
    caller.dial(answers.aor()).unwrap();
    answers.wait_call("CALL_INCOMING").unwrap();
    other.wait_call("CALL_INCOMING").unwrap();

    answers.accept().unwrap();

    other.wait_closed().unwrap();
    caller.wait_established().unwrap();
    hear(caller, tone);
    hear(answers, own);
    hang_up(caller, answers);
}

/// Two agents in a call, and what each was told of the other.
pub(crate) struct Talk {
    /// The caller's.
    pub(crate) caller: Dialog,
    /// The called one's.
    pub(crate) called: Dialog,
    /// What the caller offers, as the called one sees it.
    pub(crate) offer: Message,
    /// What the called one answers, as the caller sees it.
    pub(crate) answer: Message,
}

/// One agent calls another, which answers.
pub(crate) fn connect(caller: (&mut Agent, &Voice), called: (&mut Agent, &Voice)) -> Talk {
    let ((caller, own), (called, other)) = (caller, called);
    let sdp = own.sdp().unwrap();
    let target = called.aor();
    std::thread::scope(|scope| {
        let call = scope.spawn(move || caller.call(&target, &sdp).unwrap());
        let offer = called.wait_request("INVITE").unwrap();
        called
            .respond(&offer, "200 OK", SDP, &other.answer(&offer).unwrap())
            .unwrap();
        called.wait_request("ACK").unwrap();
        let (caller, answer) = call.join().unwrap();
        Talk {
            caller,
            called: Dialog::of_request(&offer).unwrap(),
            offer,
            answer,
        }
    })
}

/// One of two agents in a call ends it.
pub(crate) fn bye(from: &mut Agent, dialog: &mut Dialog, to: &mut Agent) {
    from.request(dialog, "BYE", "", "").unwrap();
    let request = to.wait_request("BYE").unwrap();
    to.respond(&request, "200 OK", "", "").unwrap();
    let answer = from.wait_final(dialog, "BYE").unwrap();
    assert_eq!(answer.status(), Some(200), "{answer:#?}");
}

/// A phone that was switched off without a word is known to be gone at once.
pub(crate) fn call_the_dead(caller: &mut Phone, dead: &mut Phone) {
    dead.kill().unwrap();
    let start = Instant::now();
    caller.dial(dead.aor()).unwrap();
    let end = caller.wait_closed().unwrap();
    let is_gone = ["430", "480"]
        .iter()
        .any(|status| end.parameter.starts_with(status));
    assert!(is_gone, "{end:?}");
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

/// Pictures beside speech, both ways, in a call that is up.
pub(crate) fn see_each_other(one: &Phone, other: &Phone) {
    for phone in [one, other] {
        let start = SystemTime::now();
        let outcome = wait::until_true("pictures", Duration::from_secs(20), || {
            let heard = phone.incoming(start)?;
            let pictures = heard.iter().filter(|packet| packet.payload_type == VP8);
            Ok(pictures.count() > 20)
        });
        assert!(outcome.is_ok(), "{outcome:?}\n{}", phone.log().unwrap());
    }
}

/// A busy tone, Hz.
const BUSY: u32 = 425;
/// What baresip calls it in its offers.
const VP8: u8 = 96;
/// Without a time-out of anybody's.
const AT_ONCE: Duration = Duration::from_secs(2);
const AWHILE: Duration = Duration::from_millis(500);
