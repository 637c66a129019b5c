//! What every message must have, looked at once, so that whoever reads it later need not ask again.

use super::index::{self, Index, Tags};
use super::{Fault, Message, StartSpan};
use crate::limits;
use crate::sip::address::{Contact, NameAddr};
use crate::sip::name::Name;
use crate::sip::scan::{self, Elements};
use crate::sip::via::Via;

/// Gives the end of the message, and what was found on the way.
pub(super) fn whole(message: &Message) -> Result<(usize, Tags), Fault> {
    if let Some(fault) = message.index().start_fault {
        return Err(fault);
    }
    let mut seen = Seen::default();
    for field in &message.index().fields {
        let value = message.slice(&field.value);
        seen.field(field.name, value)?;
    }
    seen.finish()?;
    let cseq = super::read::cseq(seen.cseq.unwrap_or_default()).ok_or(Fault::Value(Name::CSeq))?;
    if let StartSpan::Request { token, .. } = &message.index().start
        && cseq.token != message.slice(token)
    {
        return Err(Fault::CSeqMethod);
    }
    let end = end_of_body(message, seen.content_length)?;
    let span = |tag: &[u8]| index::span(message.span_of(tag).unwrap_or_default());
    let tags = Tags {
        from: span(seen.from_tag)?,
        to: span(seen.to_tag)?,
    };
    Ok((end, tags))
}

fn end_of_body(message: &Message, content_length: Option<usize>) -> Result<usize, Fault> {
    let all = message.as_bytes().len();
    let end = match content_length {
        None => all,
        Some(length) => message.body_start().saturating_add(length),
    };
    if end > all {
        return Err(Fault::BodyShort);
    }
    if end > limits::SIP_MESSAGE_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    Ok(end)
}

/// The length of the message with this head, on a stream: `Content-Length` has to be there.
pub(super) fn length(head: &[u8], index: &Index) -> Result<usize, Fault> {
    let mut length = None;
    let fields = index.fields.iter();
    for field in fields.filter(|field| field.name == Name::ContentLength) {
        let value = usize::from(field.value.start)..usize::from(field.value.end);
        let value = content_length(head.get(value).unwrap_or_default())?;
        if length.replace(value).is_some_and(|other| other != value) {
            return Err(Fault::ContentLength);
        }
    }
    let whole = length.ok_or(Fault::NoContentLength)?;
    let whole = whole.saturating_add(usize::from(index.body));
    if whole > limits::SIP_MESSAGE_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    Ok(whole)
}

/// What was seen on the way through the headers.
#[derive(Default)]
struct Seen<'a> {
    vias: usize,
    routes: usize,
    record_routes: usize,
    paths: usize,
    contacts: usize,
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    from_tag: &'a [u8],
    to_tag: &'a [u8],
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
    max_forwards: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    content_length: Option<usize>,
}

impl<'a> Seen<'a> {
    fn field(&mut self, name: Name, value: &'a [u8]) -> Result<(), Fault> {
        const ROUTES: usize = limits::SIP_ROUTES_MAX;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a message's other headers are none of its layer's business"
        )]
        match name {
            Name::Via => each(name, value, &mut self.vias, limits::SIP_VIAS_MAX, |value| {
                Via::parse(value).map(drop)
            }),
            Name::Route => each(name, value, &mut self.routes, ROUTES, route),
            Name::RecordRoute => each(name, value, &mut self.record_routes, ROUTES, route),
            Name::Path | Name::ServiceRoute => each(name, value, &mut self.paths, ROUTES, route),
            Name::Contact => {
                let contact = |value| Contact::parse(value).map(drop);
                each(
                    name,
                    value,
                    &mut self.contacts,
                    limits::SIP_CONTACTS_MAX,
                    contact,
                )
            }
            Name::From => {
                once(name, &mut self.from, value)?;
                self.from_tag = tag(name, value)?;
                Ok(())
            }
            Name::To => {
                once(name, &mut self.to, value)?;
                self.to_tag = tag(name, value)?;
                Ok(())
            }
            Name::CallId => {
                once(name, &mut self.call_id, value)?;
                let is_word = !value.is_empty() && value.iter().all(|byte| *byte > b' ');
                valid(name, is_word)
            }
            Name::CSeq => once(name, &mut self.cseq, value),
            Name::MaxForwards => {
                once(name, &mut self.max_forwards, value)?;
                valid(name, scan::number(value).is_some_and(|hops| hops <= 255))
            }
            Name::ContentType => once(name, &mut self.content_type, value),
            Name::ContentLength => self.length(value),
            _ => Ok(()),
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let length = content_length(value)?;
        match self.content_length {
            Some(other) if other != length => Err(Fault::ContentLength),
            _ => {
                self.content_length = Some(length);
                Ok(())
            }
        }
    }

    fn finish(&self) -> Result<(), Fault> {
        let must = [
            (Name::From, self.from.is_some()),
            (Name::To, self.to.is_some()),
            (Name::CallId, self.call_id.is_some()),
            (Name::CSeq, self.cseq.is_some()),
            (Name::Via, self.vias > 0),
        ];
        let missing = must.into_iter().find(|(_, is_there)| !is_there);
        missing.map_or(Ok(()), |(name, _)| Err(Fault::Missing(name)))
    }
}

/// The number that a `Content-Length` has: digits only, and few.
pub(in crate::sip) fn content_length(value: &[u8]) -> Result<usize, Fault> {
    if value.len() > limits::SIP_CONTENT_LENGTH_DIGITS_MAX {
        return Err(Fault::ContentLength);
    }
    scan::number(value)
        .and_then(|length| usize::try_from(length).ok())
        .ok_or(Fault::ContentLength)
}

fn once<'a>(name: Name, place: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), Fault> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::Repeated(name)),
    }
}

fn valid(name: Name, is_valid: bool) -> Result<(), Fault> {
    if is_valid {
        Ok(())
    } else {
        Err(Fault::Value(name))
    }
}

/// The tag of an address; empty if it has none.
fn tag(name: Name, value: &[u8]) -> Result<&[u8], Fault> {
    let address = NameAddr::parse(value).map_err(|fault| of(name, fault))?;
    Ok(address.tag().unwrap_or_default())
}

/// RFC 3261 section 20.34: a route has `<` and `>`.
fn route(value: &[u8]) -> Result<(), Fault> {
    let route = NameAddr::parse(value)?;
    if route.as_bytes().contains(&b'<') {
        Ok(())
    } else {
        Err(Fault::Address)
    }
}

fn each<'a>(
    name: Name,
    value: &'a [u8],
    count: &mut usize,
    max: usize,
    check: impl Fn(&'a [u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for element in Elements::new(value) {
        *count = count.saturating_add(1);
        if *count > max {
            return Err(Fault::TooManyValues(name));
        }
        check(element).map_err(|fault| of(name, fault))?;
    }
    Ok(())
}

/// Says which header a fault is in; limits keep their own name.
const fn of(name: Name, fault: Fault) -> Fault {
    if matches!(fault, Fault::UriTooLong | Fault::TooManyParameters) {
        fault
    } else {
        Fault::Value(name)
    }
}
