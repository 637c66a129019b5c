//! Both ends of an answered call, as a request in the name of either needs them (RFC 3261 section 12.2.1.1).

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::sip::message::{Message, Method};
use crate::sip::name::Name;

/// What a request of this pair may skip in the count of an end: more than any call has keys pressed or pictures asked for.
/// No request comes after a BYE, so only too small a number would do harm.
const CSEQ_LEAP: u32 = 1 << 16;
const CSEQ_MAX: u32 = (1 << 31) - 1;

/// Both ends of a call.
#[derive(Debug)]
pub(in crate::sip) struct Ends {
    pub(in crate::sip) client: End,
    pub(in crate::sip) inside: End,
    /// The Route from here to the end inside: values parted by commas.
    pub(in crate::sip) routes: Vec<u8>,
    /// The registrar through which the call came about.
    pub(in crate::sip) registrar: Arc<str>,
    call_id: Bytes,
}

/// One end of a call.
#[derive(Debug)]
pub(in crate::sip) struct End {
    /// Its From or To, with its tag.
    identity: Bytes,
    /// The URI of its Contact.
    target: Bytes,
    /// The number of its latest INVITE or UPDATE.
    cseq: u32,
}

impl Ends {
    /// The ends of the dialog that `response`, a 2xx to the INVITE `request`, makes; `None` without Contacts.
    pub(in crate::sip) fn new(
        request: &Message,
        response: &Message,
        is_client_caller: bool,
        routes: Vec<u8>,
        registrar: Arc<str>,
    ) -> Option<Self> {
        let caller = End {
            identity: Bytes::copy_from_slice(request.value(Name::From)?),
            target: contact(request)?,
            cseq: request.cseq().number,
        };
        let called = End {
            identity: Bytes::copy_from_slice(response.value(Name::To)?),
            target: contact(response)?,
            cseq: 0,
        };
        let (client, inside) = if is_client_caller {
            (caller, called)
        } else {
            (called, caller)
        };
        Some(Self {
            client,
            inside,
            routes,
            registrar,
            call_id: Bytes::copy_from_slice(request.call_id()),
        })
    }

    pub(super) fn refresh(&mut self, request: &Message, response: &Message, is_from_client: bool) {
        let (sender, other) = if is_from_client {
            (&mut self.client, &mut self.inside)
        } else {
            (&mut self.inside, &mut self.client)
        };
        sender.cseq = sender.cseq.max(request.cseq().number);
        if let Some(target) = contact(request) {
            sender.target = target;
        }
        if let Some(target) = contact(response) {
            other.target = target;
        }
    }

    /// A request to one end in the name of the other; its Via is only there to be replaced. An ACK is to the latest INVITE
    /// of the sender, anything else comes long after that.
    pub(in crate::sip) fn request(
        &self,
        method: Method,
        is_from_client: bool,
        reason: &str,
    ) -> Option<Message> {
        let (from, to) = if is_from_client {
            (&self.client, &self.inside)
        } else {
            (&self.inside, &self.client)
        };
        let mut out = Vec::with_capacity(512);
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        put(&[
            method.as_str().as_bytes(),
            b" ",
            &to.target,
            b" SIP/2.0\r\n",
        ]);
        put(&[b"Via: SIP/2.0/TLS edge.invalid;branch=z9hG4bK0\r\nMax-Forwards: 70\r\n"]);
        put(&[b"From: ", &from.identity, b"\r\nTo: ", &to.identity]);
        put(&[b"\r\nCall-ID: ", &self.call_id, b"\r\n"]);
        let number = if method == Method::Ack {
            from.cseq
        } else {
            from.cseq.saturating_add(CSEQ_LEAP).min(CSEQ_MAX)
        };
        // Writing to a vector cannot fail.
        drop(write!(out, "CSeq: {number} {method}\r\n"));
        if method == Method::Bye {
            drop(write!(out, "Reason: {reason}\r\n"));
        }
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        Message::parse(out.into()).ok()
    }
}

fn contact(message: &Message) -> Option<Bytes> {
    let address = message.contacts().find_map(|contact| contact.address())?;
    Some(Bytes::copy_from_slice(address.uri().as_bytes()))
}
