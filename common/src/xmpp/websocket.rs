//! Streams in a WebSocket (RFC 7395) to streams as servers know them, and back: what opens and closes a stream is another
//! element there, and each message is one whole element that declares its namespaces itself.

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem;

use super::boundaries::{Boundaries, Part};
use crate::limits;

/// The namespace of `<open/>` and `<close/>` (RFC 7395 section 3.3.2).
pub const NS_FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";

/// An element is longer than a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an element is longer than a message of a WebSocket may be")]
pub struct TooLong;

/// One message of a client as bytes of a stream. Elements keep theirs.
#[must_use]
pub fn to_stream(message: Bytes) -> Bytes {
    let Some(tag) = framing_tag(&message) else {
        return message;
    };
    match tag.name {
        b"open" => {
            let mut header = BytesMut::with_capacity(message.len().saturating_add(HEADER_ROOM));
            header.put_slice(b"<?xml version='1.0'?><stream:stream");
            for attribute in tag.attributes().filter(|one| !one.declares_namespace()) {
                header.put_slice(b" ");
                header.put_slice(attribute.raw);
            }
            header.put_slice(
                b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
            );
            header.freeze()
        }
        _ => Bytes::from_static(b"</stream:stream>"),
    }
}

/// Bytes of a server's stream as messages for a client.
#[derive(Debug)]
pub struct ToMessages {
    boundaries: Boundaries,
    /// The part that has begun; nothing while there is none.
    pending: BytesMut,
    /// What the server's header declares for all of its stream.
    declared: Vec<Declared>,
}

#[derive(Debug)]
struct Declared {
    /// `None` for the namespace of names without prefix.
    prefix: Option<Bytes>,
    /// The whole attribute.
    raw: Bytes,
}

impl Default for ToMessages {
    fn default() -> Self {
        Self::new()
    }
}

impl ToMessages {
    /// Before the stream header.
    #[must_use]
    pub fn new() -> Self {
        Self {
            boundaries: Boundaries::new(),
            pending: BytesMut::new(),
            declared: Vec::new(),
        }
    }

    /// Another header follows on the same connection (RFC 6120 section 4.3.3).
    pub fn restart(&mut self) {
        *self = Self::new();
    }

    /// Takes bytes of the stream; `emit` gets every message. White space between elements is dropped.
    ///
    /// # Errors
    /// [`TooLong`]; the stream can't go on.
    pub fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(Bytes)) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            let (taken, part) = self.boundaries.advance(bytes);
            let (now, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            bytes = rest;
            let now = if self.pending.is_empty() {
                now.trim_ascii_start()
            } else {
                now
            };
            if self.pending.len().saturating_add(now.len()) > WEB_PART_BYTES_MAX {
                return Err(TooLong);
            }
            self.pending.extend_from_slice(now);
            if let Some(part) = part {
                // The allocation goes with the message: idle streams hold none.
                let whole = std::mem::take(&mut self.pending).freeze();
                if let Some(message) = self.message(part, whole) {
                    emit(message);
                }
            }
        }
        Ok(())
    }

    /// May an element be put behind what was pushed?
    #[must_use]
    pub const fn boundaries(&self) -> &Boundaries {
        &self.boundaries
    }

    fn message(&mut self, part: Part, whole: Bytes) -> Option<Bytes> {
        match part {
            Part::Declaration => None,
            Part::Element => Some(self.with_namespaces(whole)),
            Part::End => {
                let close = format!("<close xmlns='{NS_FRAMING}'/>");
                Some(close.into())
            }
            Part::Header => Some(self.open(&whole)),
        }
    }

    fn open(&mut self, header: &Bytes) -> Bytes {
        let mut open = BytesMut::from(format!("<open xmlns='{NS_FRAMING}'").as_bytes());
        self.declared.clear();
        for attribute in Tag::read(header).into_iter().flat_map(Tag::attributes) {
            if !attribute.declares_namespace() {
                open.put_slice(b" ");
                open.put_slice(attribute.raw);
            } else if self.declared.len() < limits::XMPP_NAMESPACES_MAX {
                let prefix = attribute.name.strip_prefix(b"xmlns:");
                self.declared.push(Declared {
                    prefix: prefix.map(Bytes::copy_from_slice),
                    raw: Bytes::copy_from_slice(attribute.raw),
                });
            }
        }
        open.put_slice(b"/>");
        open.freeze()
    }

    /// RFC 7395 section 3.3.3: what the header declared is not known to one message.
    fn with_namespaces(&self, element: Bytes) -> Bytes {
        let Some(tag) = Tag::read(&element) else {
            return element;
        };
        let missing = |declared: &&Declared| {
            let key = declared.attribute_name();
            let is_used = declared.prefix.as_ref().is_none_or(|prefix| {
                let used = [prefix, &b":"[..]].concat();
                memmem::find(&element, &used).is_some()
            });
            is_used && !tag.attributes().any(|attribute| attribute.name == key)
        };
        let missing: Vec<&Declared> = self.declared.iter().filter(missing).collect();
        if missing.is_empty() {
            return element;
        }
        let (name, rest) = element
            .split_at_checked(tag.name.len().saturating_add(1))
            .unwrap_or((&element, &[]));
        let mut whole = BytesMut::with_capacity(element.len().saturating_add(HEADER_ROOM));
        whole.put_slice(name);
        for declared in missing {
            whole.put_slice(b" ");
            whole.put_slice(&declared.raw);
        }
        whole.put_slice(rest);
        whole.freeze()
    }
}

impl Declared {
    fn attribute_name(&self) -> &[u8] {
        let end = memchr::memchr2(b'=', b' ', &self.raw).unwrap_or(self.raw.len());
        self.raw.get(..end).unwrap_or_default()
    }
}

/// The start tag at the beginning of some bytes that are known to be one.
#[derive(Clone, Copy, Debug)]
struct Tag<'a> {
    name: &'a [u8],
    /// What follows the name, to the end of the bytes.
    rest: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Attribute<'a> {
    name: &'a [u8],
    /// With name and quotation marks.
    raw: &'a [u8],
}

impl Attribute<'_> {
    fn declares_namespace(&self) -> bool {
        self.name == b"xmlns" || self.name.starts_with(b"xmlns:")
    }
}

impl<'a> Tag<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let inner = bytes.strip_prefix(b"<")?;
        let is_end = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'/' | b'>');
        let end = inner.iter().position(is_end)?;
        let (name, rest) = inner.split_at_checked(end)?;
        Some(Self { name, rest })
    }

    fn attributes(self) -> impl Iterator<Item = Attribute<'a>> {
        let mut rest = self.rest;
        std::iter::from_fn(move || {
            let (attribute, after) = attribute(rest.trim_ascii_start())?;
            rest = after;
            Some(attribute)
        })
    }
}

fn attribute(bytes: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let is_over = bytes.first().is_none_or(|b| matches!(b, b'/' | b'>'));
    if is_over {
        return None;
    }
    let equals = memchr::memchr(b'=', bytes)?;
    let (name, value) = bytes.split_at_checked(equals)?;
    let value = value.strip_prefix(b"=")?.trim_ascii_start();
    let (quote, value) = value.split_first()?;
    let len = matches!(quote, b'"' | b'\'').then(|| memchr::memchr(*quote, value))??;
    let after = value.get(len..)?.get(1..)?;
    let raw = bytes.get(..bytes.len().checked_sub(after.len())?)?;
    let name = name.trim_ascii_end();
    Some((Attribute { name, raw }, after))
}

fn framing_tag(message: &[u8]) -> Option<Tag<'_>> {
    let tag = Tag::read(message.trim_ascii())?;
    let is_framing = |attribute: Attribute<'_>| {
        attribute.name == b"xmlns" && memmem::find(attribute.raw, NS_FRAMING.as_bytes()).is_some()
    };
    let is_named = matches!(tag.name, b"open" | b"close");
    (is_named && tag.attributes().any(is_framing)).then_some(tag)
}

/// What a header has more than the message it is made of.
const HEADER_ROOM: usize = 128;
/// What a frame of the link can hold, with the namespaces that are put in.
const WEB_PART_BYTES_MAX: usize = limits::FLOW_MESSAGE_BYTES_MAX - 2 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "<?xml version='1.0'?><stream:stream from='example.com' id=\"i'1\" version='1.0' xml:lang='en' \
        xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    const SERVER: &str = " <stream:features><bind xmlns='urn:b'/></stream:features>\n<message to='a'><body>x</body></message>\
        <iq xmlns=\"jabber:client\"/></stream:stream>";

    fn messages(chunks: &[&[u8]]) -> Vec<String> {
        let mut to_messages = ToMessages::new();
        let mut messages = Vec::new();
        for chunk in chunks {
            let emit = |message: Bytes| messages.push(String::from_utf8(message.to_vec()).unwrap());
            to_messages.push(chunk, emit).unwrap();
        }
        assert_eq!(
            to_messages.pending.capacity(),
            0,
            "idle streams hold nothing"
        );
        messages
    }

    fn stream_of(message: &'static str) -> String {
        let stream = to_stream(Bytes::from_static(message.as_bytes()));
        String::from_utf8(stream.to_vec()).unwrap()
    }

    #[test]
    fn what_opens_and_closes_becomes_header_and_end() {
        let open = "<open xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\" to=\"example.com\" version=\"1.0\" xml:lang='de'/>";

        assert_eq!(
            stream_of(open),
            "<?xml version='1.0'?><stream:stream to=\"example.com\" version=\"1.0\" xml:lang='de' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        assert_eq!(
            stream_of("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing' />"),
            "</stream:stream>"
        );
    }

    #[test]
    fn elements_of_a_client_keep_their_bytes() {
        for element in [
            "<message xmlns='jabber:client'><open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/></message>",
            "<open xmlns='urn:other'/>",
            "<open",
            "",
        ] {
            assert_eq!(stream_of(element), element);
        }
    }

    #[test]
    fn each_element_of_a_server_is_a_message_with_its_namespaces() {
        let messages = messages(&[HEADER.as_bytes(), SERVER.as_bytes()]);

        assert_eq!(
            messages,
            [
                "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='example.com' id=\"i'1\" version='1.0' \
                 xml:lang='en'/>",
                "<stream:features xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
                 <bind xmlns='urn:b'/></stream:features>",
                "<message xmlns='jabber:client' to='a'><body>x</body></message>",
                "<iq xmlns=\"jabber:client\"/>",
                "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
            ]
        );
    }

    #[test]
    fn an_element_that_no_message_can_hold_is_refused() {
        let mut to_messages = ToMessages::new();
        to_messages.push(HEADER.as_bytes(), |_| {}).unwrap();

        let long = format!("<a>{}", "x".repeat(limits::FLOW_MESSAGE_BYTES_MAX));

        assert_eq!(to_messages.push(long.as_bytes(), |_| {}), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_messages(size in 1_usize..40) {
            let whole = format!("{HEADER}{SERVER}");
            let chunks: Vec<&[u8]> = whole.as_bytes().chunks(size).collect();

            prop_assert_eq!(messages(&chunks), messages(&[whole.as_bytes()]));
        }

        #[test]
        fn whatever_a_client_sends_is_taken(message in "[<>/= '\"a-z:]{0,60}") {
            drop(to_stream(message.into()));
        }
    }
}
