use super::*;
use crate::testing::epoch;

const PACE: Pace = Pace {
    per_second: 20,
    burst: 60,
};

fn peer() -> SocketAddr {
    "192.0.2.7:4711".parse().unwrap()
}

fn gate(now: Instant) -> Gate {
    Gate::new(peer(), PACE, 7, now)
}

fn request(method: &str, cseq: u32, to: &str) -> String {
    format!(
        "{method} sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.1:5;branch=z9hG4bK{cseq};rport\r\n\
         From: <sip:a@example.com>;tag=f\r\nTo: {to}\r\nCall-ID: c\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

const TO: &str = "<sip:b@example.com>";

/// Pushes one text and takes one output.
fn push(gate: &mut Gate, text: &str, now: Instant) -> Output {
    gate.handle_bytes(text.as_bytes(), now);
    let output = gate.next(now).unwrap().unwrap();
    assert_eq!(gate.next(now), Ok(None));
    output
}

fn answer(output: Output) -> (Message, Answered) {
    let Output::Answer { bytes, to } = output else {
        panic!("{output:?}");
    };
    (Message::parse(bytes).unwrap(), to)
}

fn is_forwarded(output: &Output) -> bool {
    matches!(output, Output::Forward(_))
}

fn ok_to_register(extra: &str) -> Bytes {
    let text = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a\r\nFrom: <sip:a@x>;tag=f\r\nTo: <sip:a@x>;tag=t\r\nCall-ID: c\r\n\
         CSeq: 1 REGISTER\r\n{extra}Content-Length: 0\r\n\r\n"
    );
    text.into()
}

#[test]
fn a_new_client_may_register_and_ask_and_nothing_else() {
    let now = epoch();
    let mut gate = gate(now);

    for method in ["REGISTER", "OPTIONS"] {
        assert!(
            is_forwarded(&push(&mut gate, &request(method, 1, TO), now)),
            "{method}"
        );
    }
    for method in [
        "INVITE",
        "MESSAGE",
        "SUBSCRIBE",
        "BYE",
        "NEWMETHOD",
        "register",
    ] {
        let (answer, to) = answer(push(&mut gate, &request(method, 1, TO), now));
        assert_eq!(answer.status(), Some(403), "{method}");
        assert_eq!(to, Answered::Refused(Refusal::NotRegistered), "{method}");
        assert_eq!(
            answer.top_via().unwrap().received(),
            Some(peer().ip()),
            "{method}"
        );
    }
    let response =
        request("INVITE", 1, TO).replace("INVITE sip:b@example.com SIP/2.0", "SIP/2.0 200 OK");
    assert_eq!(
        push(&mut gate, &response, now),
        Output::Dropped(Refusal::NotRegistered)
    );
}

#[test]
fn a_registered_client_may_send_every_request_of_clients() {
    let now = epoch();
    let mut gate = gate(now);
    gate.set_admits(Admits::Everything, now);

    for method in ["INVITE", "ACK", "BYE", "REFER", "PUBLISH", "REGISTER"] {
        assert!(
            is_forwarded(&push(&mut gate, &request(method, 1, TO), now)),
            "{method}"
        );
    }
    for method in ["SERVICE", "NEWMETHOD"] {
        let (answer, to) = answer(push(&mut gate, &request(method, 1, TO), now));
        assert_eq!(answer.status(), Some(405));
        assert_eq!(to, Answered::Refused(Refusal::Method));
        assert!(answer.has_option(Name::Allow, "PRACK"));
    }

    gate.set_admits(Admits::Registering, now);
    let output = push(&mut gate, &request("INVITE", 2, TO), now);
    assert_eq!(answer(output).0.status(), Some(403));
}

#[test]
fn the_ack_of_a_refused_invite_ends_here() {
    let now = epoch();
    let mut gate = gate(now);
    let (refused, _) = answer(push(&mut gate, &request("INVITE", 5, TO), now));
    gate.set_admits(Admits::Everything, now);
    let to = str::from_utf8(refused.value(Name::To).unwrap())
        .unwrap()
        .to_owned();

    let own = push(&mut gate, &request("ACK", 5, &to), now);
    let other = push(&mut gate, &request("ACK", 6, &to), now);

    assert_eq!(own, Output::Dropped(Refusal::OwnAck));
    assert!(is_forwarded(&other));
}

#[test]
fn keep_alives_are_answered_on_the_spot() {
    let now = epoch();
    let mut gate = gate(now);

    gate.handle_bytes(b"\r\n\r\n", now);
    let ping = gate.next(now).unwrap().unwrap();
    gate.handle_bytes(b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl", now);
    let stun = gate.next(now).unwrap().unwrap();
    gate.handle_bytes(b"\0\x11\0\0\x21\x12\xa4\x42abcdefghijkl", now);
    let indication = gate.next(now).unwrap().unwrap();

    let pong = Output::Answer {
        bytes: Bytes::from_static(b"\r\n"),
        to: Answered::Ping,
    };
    assert_eq!(ping, pong);
    let Output::Answer {
        bytes,
        to: Answered::Stun,
    } = stun
    else {
        panic!("{stun:?}");
    };
    assert_eq!(bytes[..2], [1, 1]);
    assert_eq!(indication, Output::Dropped(Refusal::Stun));
}

#[test]
fn a_malformed_request_is_answered_and_the_stream_goes_on() {
    let now = epoch();
    let mut gate = gate(now);

    let text = request("REGISTER", 1, TO).replace("CSeq", "Contact: <sip:a@b\r\nCSeq");
    let (answer, to) = answer(push(&mut gate, &text, now));

    assert_eq!(answer.status(), Some(400));
    assert_eq!(
        to,
        Answered::Refused(Refusal::Malformed(Fault::Value(Name::Contact)))
    );
    assert!(is_forwarded(&push(
        &mut gate,
        &request("REGISTER", 2, TO),
        now
    )));
}

#[test]
fn many_malformed_requests_end_the_connection() {
    let now = epoch();
    let mut gate = gate(now);

    for _ in 0..limits::SIP_MALFORMED_MAX {
        gate.handle_bytes(request("REGISTER", 1, "no address").as_bytes(), now);
        assert!(gate.next(now).unwrap().is_some());
    }

    assert_eq!(gate.next(now), Err(Ended::Malformed));
}

#[test]
fn a_stream_that_can_not_be_read_on_ends_after_the_answer() {
    let now = epoch();
    let mut answered = gate(now);
    answered.handle_bytes(
        request("REGISTER", 1, TO)
            .replace("Content-Length: 0", "X: y")
            .as_bytes(),
        now,
    );
    let (message, _) = answer(answered.next(now).unwrap().unwrap());
    assert_eq!(message.status(), Some(400));
    assert_eq!(
        answered.next(now),
        Err(Ended::Unreadable(Fault::NoContentLength))
    );

    let mut silent = gate(now);
    silent.handle_bytes(b"GET / HTTP/1.1\nHost: x\n\n\r\n\r\n", now);
    assert_eq!(silent.next(now), Err(Ended::Unreadable(Fault::LineEnd)));
}

#[test]
fn a_flood_is_made_to_wait_and_loses_nothing() {
    let now = epoch();
    let mut gate = gate(now);
    let flood = request("OPTIONS", 1, TO).repeat(100);
    gate.handle_bytes(flood.as_bytes(), now);
    let count = |gate: &mut Gate, now| std::iter::from_fn(|| gate.next(now).unwrap()).count();

    let at_once = count(&mut gate, now);
    assert_eq!(at_once, 61, "the one that is too many makes it wait");
    assert!(!gate.is_readable());
    let (until, reason) = gate.poll_timeout();
    assert_eq!(until, now + Duration::from_millis(50));
    assert_eq!(reason, "the client may send again");
    assert_eq!(gate.handle_timeout(now + Duration::from_secs(60)), Ok(()));

    let mut later = now;
    let mut total = at_once;
    while total < 100 {
        later = gate.poll_timeout().0;
        let more = count(&mut gate, later);
        assert!(more > 0, "progress at each timeout");
        total += more;
    }
    assert_eq!(total, 100);
    assert_eq!(later, now + Duration::from_millis(50 * 39));
}

#[test]
fn what_drips_in_too_slowly_ends_the_connection() {
    let now = epoch();
    let mut head = gate(now);
    head.handle_bytes(b"REGISTER", now);
    assert_eq!(head.next(now), Ok(None));
    let nearly = now + Duration::from_millis(9_999);
    let later = now + limits::SIP_HEAD_TIMEOUT;
    head.handle_bytes(b" ", nearly);
    assert_eq!(head.next(nearly), Ok(None));
    assert_eq!(head.poll_timeout().0, later);
    assert_eq!(head.handle_timeout(nearly), Ok(()));
    assert_eq!(head.handle_timeout(later), Err(Ended::SlowHead));

    let mut body = gate(now);
    body.handle_bytes(
        request("REGISTER", 1, TO)
            .replace("Length: 0", "Length: 5")
            .as_bytes(),
        now,
    );
    assert_eq!(body.next(now), Ok(None));
    assert_eq!(body.handle_timeout(later), Ok(()));
    assert_eq!(
        body.handle_timeout(now + limits::SIP_BODY_TIMEOUT),
        Err(Ended::SlowBody)
    );
}

#[test]
fn a_client_that_does_not_register_is_closed_when_it_falls_silent() {
    let now = epoch();
    let mut gate = gate(now);
    let silent = now + limits::SIP_UNREGISTERED_SILENCE_MAX;

    assert_eq!(gate.poll_timeout(), (silent, "the client is silent"));
    assert_eq!(gate.handle_timeout(silent), Err(Ended::Silent));
    gate.handle_bytes(b"\r\n\r\n", silent);
    assert!(gate.next(silent).unwrap().is_some());
    assert_eq!(gate.handle_timeout(silent), Ok(()));
}

#[test]
fn a_registered_client_is_heard_as_often_as_it_was_told() {
    let now = epoch();
    let mut gate = gate(now);
    gate.set_admits(Admits::Everything, now);
    assert_eq!(
        gate.poll_timeout().0,
        now + limits::SIP_REGISTERED_SILENCE_MAX
    );

    gate.handle_message_from_core(&ok_to_register("Flow-Timer: 120\r\n"));
    assert_eq!(gate.poll_timeout().0, now + Duration::from_secs(190));

    gate.handle_message_from_core(&ok_to_register(""));
    assert_eq!(
        gate.poll_timeout().0,
        now + limits::SIP_REGISTERED_SILENCE_MAX
    );
}

#[test]
fn a_websocket_message_is_one_message_with_or_without_a_length() {
    let now = epoch();
    let mut gate = gate(now);

    let text = request("REGISTER", 1, TO).replace("Content-Length: 0\r\n", "");
    gate.handle_websocket_message(text.as_bytes(), now);
    assert!(!gate.is_readable());
    assert!(is_forwarded(&gate.next(now).unwrap().unwrap()));
    assert!(gate.is_readable());

    gate.handle_websocket_message(b"\r\n\r\n", now);
    assert!(gate.next(now).unwrap().is_some());
}
