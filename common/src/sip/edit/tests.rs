use super::*;

const MESSAGE: &str = "INVITE sip:b@x;a=b SIP/2.0\r\n\
    Route: <sip:1;lr>, <sip:2;lr>\r\n\
    VIA:  SIP/2.0/TLS a:5;rport;branch=z9hG4bK1 ,\r\n SIP/2.0/UDP c;received=192.0.2.1\r\n\
    route: <sip:3,x@r;lr>\r\n\
    To: <sip:b@x>\r\n\
    From: \"\\\"\" <sip:a@x>;tag=1\r\n\
    X-Odd :  ;;,\u{fc}\r\n\
    Call-ID: 7\r\n\
    m: <sip:a@10.0.0.1:5060;x>;expires=5\r\n\
    CSeq: 1 INVITE\r\n\
    l: 2\r\n\r\nhi";

fn message() -> Message {
    Message::parse(Bytes::from_static(MESSAGE.as_bytes())).unwrap()
}

fn edited(change: impl FnOnce(&mut Edit<'_>, &Message)) -> String {
    let message = message();
    let mut edit = Edit::new(&message);
    change(&mut edit, &message);
    String::from_utf8(edit.into_bytes().to_vec()).unwrap()
}

#[test]
fn without_changes_a_message_stays_as_it_is() {
    assert_eq!(edited(|_, _| {}), MESSAGE);
}

#[test]
fn a_forwarded_request_differs_only_where_it_was_asked_for() {
    let text = edited(|edit, message| {
        edit.push_via("SIP/2.0/TCP e;branch=z9hG4bK2")
            .insert_before(Name::RecordRoute, "<sip:e;lr>")
            .stamp_via("[2001:db8::1]:99".parse().unwrap())
            .drop_first(Name::Route)
            .set_max_forwards(69)
            .replace_start_uri("sip:z")
            .append("X-Own", "1");
        let contact = message.contacts().next().unwrap().address().unwrap();
        edit.replace(contact.uri().host_port(), "edge");
    });

    let expected = MESSAGE
        .replace("sip:b@x;a=b SIP", "sip:z SIP")
        .replace("<sip:1;lr>, <sip:2;lr>", "<sip:2;lr>")
        .replace(
            "rport;branch=z9hG4bK1 ",
            "rport=99;branch=z9hG4bK1;received=2001:db8::1 ",
        )
        .replace("VIA:", "Via: SIP/2.0/TCP e;branch=z9hG4bK2\r\nVIA:")
        .replace(
            "Route: <sip:2",
            "Record-Route: <sip:e;lr>\r\nMax-Forwards: 69\r\nRoute: <sip:2",
        )
        .replace("10.0.0.1:5060", "edge")
        .replace("l: 2\r\n", "l: 2\r\nX-Own: 1\r\n");
    assert_eq!(text, expected);
}

#[test]
fn values_leave_a_list_with_one_comma_each_and_the_last_takes_its_header() {
    let vias =
        "VIA:  SIP/2.0/TLS a:5;rport;branch=z9hG4bK1 ,\r\n SIP/2.0/UDP c;received=192.0.2.1\r\n";

    let first = edited(|edit, _| {
        edit.pop_via();
    });
    assert_eq!(
        first,
        MESSAGE.replace(vias, "VIA:  SIP/2.0/UDP c;received=192.0.2.1\r\n")
    );

    let second = edited(|edit, message| {
        let via = message.vias().nth(1).unwrap();
        edit.drop_value(via.as_bytes());
    });
    assert_eq!(
        second,
        MESSAGE.replace(vias, "VIA:  SIP/2.0/TLS a:5;rport;branch=z9hG4bK1\r\n")
    );

    let both = edited(|edit, message| {
        for via in message.vias() {
            edit.drop_value(via.as_bytes());
        }
    });
    assert_eq!(both, MESSAGE.replace(vias, ""));

    let routes = edited(|edit, message| {
        for route in message.routes() {
            edit.drop_value(route.as_bytes());
        }
    });
    assert_eq!(
        routes,
        MESSAGE
            .replace("Route: <sip:1;lr>, <sip:2;lr>\r\n", "")
            .replace("route: <sip:3,x@r;lr>\r\n", "")
    );
}

#[test]
fn headers_go_by_name_in_every_spelling() {
    let text = edited(|edit, _| {
        edit.remove(Name::Contact).remove("x-odd").remove("x-none");
    });

    let expected = MESSAGE
        .replace("m: <sip:a@10.0.0.1:5060;x>;expires=5\r\n", "")
        .replace("X-Odd :  ;;,\u{fc}\r\n", "");
    assert_eq!(text, expected);
}

#[test]
fn a_new_body_brings_its_length() {
    let text = edited(|edit, _| {
        edit.set_typed_body("application/sdp", Bytes::from_static(b"v=0\r\n"));
    });

    let message = Message::parse(text.into_bytes().into()).unwrap();
    assert_eq!(message.body(), b"v=0\r\n");
    assert!(message.content_type().unwrap().is("Application", "SDP"));
    assert_eq!(message.values(Name::ContentLength).count(), 1);
}

#[test]
fn no_value_adds_a_header() {
    let text = edited(|edit, message| {
        edit.append("X", "1\r\nEvil: 2");
        edit.replace(message.call_id(), "9\r\n\r\nEvil: 3");
    });

    let message = Message::parse(text.into_bytes().into());
    assert!(
        message.is_err(),
        "a Call-ID with spaces is refused, not split"
    );
    let text = edited(|edit, _| {
        edit.append("X", "1\r\nEvil: 2");
    });
    let message = Message::parse(text.into_bytes().into()).unwrap();
    assert_eq!(message.values_named("Evil").count(), 0);
}

#[test]
fn an_address_that_somebody_else_filled_in_is_replaced() {
    let text = edited(|edit, _| {
        edit.pop_via();
    });
    let message = Message::parse(text.into_bytes().into()).unwrap();
    let mut edit = Edit::new(&message);
    edit.stamp_via("192.0.2.9:1".parse().unwrap());

    let read = Message::parse(edit.into_bytes()).unwrap();

    assert_eq!(
        read.top_via().unwrap().as_bytes(),
        b"SIP/2.0/UDP c;received=192.0.2.9"
    );
}
