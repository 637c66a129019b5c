//! What phones do with each other, whatever stands between them. Each leaves the phones as it found them: idle.

use std::time::{Duration, Instant, SystemTime};

use support::sip::agent::{Agent, SDP};
use support::sip::phone::Phone;
use support::sip::voice::{Voice, audio_address};
use support::wait;

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
        .respond(&invite, "183 Session Progress", SDP, &voice.sdp().unwrap())
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
