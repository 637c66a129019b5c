//! How a SIP stream is cut changes nothing, and what is forwarded is what came, but for what was asked for.

use std::hint::black_box;

use bytes::Bytes;

use crate::sip::edit::Edit;
use crate::sip::framing::{Framer, Item, Progress, datagram};
use crate::sip::message::{Fault, Message};
use crate::sip::name::Name;
use crate::sip::response;

/// The first byte says how the rest is cut. Items and fault must be those of the uncut stream, nothing may be held between
/// messages, and each message must be framed alike by itself.
///
/// # Panics
/// If a promise of [`Framer`] is broken.
pub fn sip_framing(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else {
        return;
    };
    let (items, fault) = framed(stream.chunks(stream.len().max(1)));
    let (cut_items, cut_fault) = framed(stream.chunks(usize::from(*first).max(1)));
    assert_eq!(items, cut_items, "how a stream is cut changes nothing");
    assert_eq!(fault, cut_fault, "nor how it ends");

    for item in items {
        if let Item::Message(message) = &item {
            let (alone, fault) = framed(std::iter::once(message.as_ref()));
            assert_eq!(
                alone,
                std::slice::from_ref(&item),
                "a message is framed alike by itself"
            );
            assert_eq!(fault, None, "and without a fault");
            assert_eq!(datagram(message).as_ref(), Ok(&item), "and as a datagram");
        }
    }
}

fn framed<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Item>, Option<Fault>) {
    let mut framer = Framer::new();
    let mut items = Vec::new();
    for chunk in chunks {
        framer.push(chunk);
        loop {
            match framer.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => return (items, Some(error.fault())),
            }
        }
    }
    let is_idle = framer.progress() == Progress::Between;
    assert_eq!(
        is_idle,
        framer.held() == 0,
        "memory is held between messages"
    );
    (items, None)
}

/// The input is one message. What parses must be forwarded to something that parses, with everything else untouched, and
/// undoing the changes must give the message back. What is refused, and what is answered, must be readable.
///
/// # Panics
/// If a promise of [`Message`], [`Edit`] or [`response`] is broken.
pub fn sip_forward(bytes: &[u8]) {
    let message = match Message::parse(Bytes::copy_from_slice(bytes)) {
        Ok(message) => message,
        Err(error) => {
            if let Some(answer) = response::respond_to_malformed(&error, b"tag") {
                assert!(answer.starts_with(b"SIP/2.0 "), "an answer is a response");
            }
            return;
        }
    };
    read_everything(&message);
    let plain = Edit::new(&message).into_bytes();
    assert_eq!(&plain, message.as_bytes(), "no edit, no change");

    let mut edit = Edit::new(&message);
    edit.push_via("SIP/2.0/TLS edge;branch=z9hG4bKx")
        .append("X-Fuzz", "1");
    let has_room = message.vias().count() < crate::limits::SIP_VIAS_MAX
        && message.headers().count() < crate::limits::SIP_HEADERS_MAX - 1;
    let sent = match Message::parse(edit.into_bytes()) {
        Ok(sent) => sent,
        Err(error) => {
            let is_large = matches!(error.fault(), Fault::HeadTooLong | Fault::TooLong);
            assert!(is_large || !has_room, "a forwarded message parses: {error}");
            return;
        }
    };
    assert_eq!(sent.body(), message.body(), "the body is untouched");
    let was_there = message.values_named("X-Fuzz").next().is_some();
    if !was_there {
        let mut back = Edit::new(&sent);
        back.pop_via().remove("X-Fuzz");
        assert_eq!(&back.into_bytes(), message.as_bytes(), "and back again");
    }
    answer(&message);
}

fn answer(message: &Message) {
    if message.is_request() {
        let answer = response::Response::new(message, 404).to_tag(b"tag");
        let answer = answer.source(([192, 0, 2, 1], 5060).into()).to_bytes();
        let answer = Message::parse(answer);
        assert!(answer.is_ok(), "an answer parses: {answer:?}");
    }
}

/// Drops, one by one, every value of every list, and reads whatever can be read.
fn read_everything(message: &Message) {
    for name in [
        Name::Via,
        Name::Route,
        Name::RecordRoute,
        Name::Path,
        Name::Contact,
    ] {
        let count = message.values(name).count();
        for value in message.values(name) {
            let mut edit = Edit::new(message);
            edit.drop_value(value);
            let rest = Message::parse(edit.into_bytes());
            let left = rest.as_ref().map_or(0, |rest| rest.values(name).count());
            let was_last_via = name == Name::Via && count == 1;
            assert!(rest.is_ok() || was_last_via, "{name} {rest:?}");
            assert_eq!(left + 1, count.max(1), "one value of {name} is dropped");
        }
    }
    let values = message
        .headers()
        .map(|(_, text, value)| text.len() + value.len());
    assert!(
        values.sum::<usize>() <= message.as_bytes().len(),
        "values are of the message"
    );
    black_box((message.uri(), message.content_type(), message.event()));
    black_box((
        message.replaces(),
        message.target_dialog(),
        message.expires(),
    ));
    black_box((message.challenges().count(), message.credentials().count()));
    black_box(message.contacts().count());
}
