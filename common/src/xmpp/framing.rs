//! Cuts a stream into its header, its elements and its end, each with the bytes it had. Any chunking gives the same.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use rxml::error::EndOrError;
use rxml::parser::{Options, WithOptions as _};
use rxml::{AttrMap, Event, Parse as _, Parser};

use super::NS_STREAMS;
use crate::limits;

/// One part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `</stream:stream>`.
    Close {
        /// As it came, with whitespace before it.
        raw: Bytes,
    },
    /// A whole element on the first level.
    Element {
        /// What it says.
        element: Element,
        /// As it came, with whitespace before it; spans of [`Element`] are places in it.
        raw: Bytes,
    },
    /// The stream header.
    Open {
        /// What it says.
        header: Header,
        /// As it came, with an XML declaration before it.
        raw: Bytes,
    },
}

/// The attributes of a stream header (RFC 6120 section 4.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Whom it is for.
    pub to: Option<String>,
    /// Who sends it.
    pub from: Option<String>,
    /// The stream's id.
    pub id: Option<String>,
    /// Absent for a peer that is older than RFC 6120.
    pub version: Option<String>,
}

/// An element with its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its namespace, resolved.
    pub namespace: String,
    /// Its local name.
    pub name: String,
    /// Attributes without a namespace.
    pub attributes: Vec<(String, String)>,
    /// Its text, without that of its children.
    pub text: String,
    /// Its children, in their order.
    pub children: Vec<Self>,
    /// Where it stands in the bytes of the whole element.
    pub span: Range<usize>,
}

impl Element {
    /// Is it this element?
    #[must_use]
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// The first child of this name.
    #[must_use]
    pub fn child(&self, namespace: &str, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.is(namespace, name))
    }

    /// The value of an attribute without a namespace.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Why a stream can't be read further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Not a stream, or text between its elements.
    #[error("it is not an XMPP stream")]
    BadFormat,
    /// Not XML, or XML of a kind that streams may not have (RFC 6120 section 11.1).
    #[error("it is not XML as streams may have it: {0}")]
    NotWellFormed(String),
    /// Elements within elements, more than any peer needs.
    #[error("its elements are nested too deeply")]
    TooDeep,
    /// A header or element over the limit.
    #[error("an element is longer than {0} octets")]
    TooLong(usize),
}

/// Reads one direction of one stream; a restarted stream needs a new one.
#[derive(Debug)]
pub struct Framer {
    parser: Parser,
    /// Bytes of the item that is being read, and what came behind it.
    buffer: BytesMut,
    /// How much of `buffer` the parser has taken.
    taken: usize,
    /// How much of `buffer` the events so far stand for.
    position: usize,
    open: Vec<Element>,
    is_open: bool,
    item_bytes_max: usize,
}

impl Framer {
    /// A reader that refuses headers and elements over `item_bytes_max` octets.
    #[must_use]
    pub fn new(item_bytes_max: usize) -> Self {
        let options = Options {
            max_token_length: limits::XMPP_TOKEN_BYTES_MAX,
            ..Options::default()
        };
        let mut parser = Parser::with_options(options);
        // Text where none may be is refused at once, not with the next element.
        parser.set_text_buffering(false);
        Self {
            parser,
            buffer: BytesMut::new(),
            taken: 0,
            position: 0,
            open: Vec::new(),
            is_open: false,
            item_bytes_max,
        }
    }

    /// Takes bytes in; whoever calls bounds how many before [`Self::next_item`] is drained.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole item, or `None` until more bytes come.
    ///
    /// # Errors
    /// [`FramingError`]; nothing can be read after it.
    pub fn next_item(&mut self) -> Result<Option<Item>, FramingError> {
        loop {
            let mut rest = self.buffer.get(self.taken..).unwrap_or_default();
            let before = rest.len();
            let parsed = self.parser.parse(&mut rest, false);
            self.taken = self.taken.saturating_add(before.saturating_sub(rest.len()));
            match parsed {
                Ok(Some(event)) => {
                    if let Some(item) = self.take_event(event)? {
                        return Ok(Some(item));
                    }
                }
                Ok(None) | Err(EndOrError::NeedMoreData) => {
                    return if self.buffer.len() > self.item_bytes_max {
                        Err(FramingError::TooLong(self.item_bytes_max))
                    } else {
                        Ok(None)
                    };
                }
                Err(EndOrError::Error(error)) => {
                    return Err(FramingError::NotWellFormed(error.to_string()));
                }
            }
        }
    }

    /// What came and belongs to no item yet: it is for whoever copies bytes from here on.
    #[must_use]
    pub fn into_rest(self) -> Bytes {
        self.buffer.freeze()
    }

    /// Is something there that belongs to no item yet?
    #[must_use]
    pub fn has_rest(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn take_event(&mut self, event: Event) -> Result<Option<Item>, FramingError> {
        let start = self.position;
        self.position = start.saturating_add(event.metrics().len());
        if self.position > self.item_bytes_max {
            return Err(FramingError::TooLong(self.item_bytes_max));
        }
        match event {
            Event::XmlDeclaration(..) => Ok(None),
            Event::StartElement(_, (namespace, name), attributes) => {
                self.start_element(start, namespace.as_str(), name.as_str(), &attributes)
            }
            Event::Text(_, text) => self.text(&text).map(|()| None),
            Event::EndElement(_) => Ok(Some(())).map(|_| self.end_element()),
        }
    }

    fn start_element(
        &mut self,
        start: usize,
        namespace: &str,
        name: &str,
        attributes: &AttrMap,
    ) -> Result<Option<Item>, FramingError> {
        if !self.is_open {
            if namespace != NS_STREAMS || name != "stream" {
                return Err(FramingError::BadFormat);
            }
            self.is_open = true;
            let header = header(attributes);
            let raw = self.split();
            return Ok(Some(Item::Open { header, raw }));
        }
        if self.open.len() >= limits::XMPP_DEPTH_MAX {
            return Err(FramingError::TooDeep);
        }
        self.open.push(Element {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            attributes: plain(attributes),
            text: String::new(),
            children: Vec::new(),
            span: start..self.position,
        });
        Ok(None)
    }

    fn text(&mut self, text: &str) -> Result<(), FramingError> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            // Whitespace between elements keeps connections alive (RFC 6120 section 4.6.1).
            None if text.bytes().all(|b| b.is_ascii_whitespace()) => {}
            None => return Err(FramingError::BadFormat),
        }
        Ok(())
    }

    fn end_element(&mut self) -> Option<Item> {
        let Some(mut element) = self.open.pop() else {
            self.is_open = false;
            let raw = self.split();
            return Some(Item::Close { raw });
        };
        element.span.end = self.position;
        if let Some(parent) = self.open.last_mut() {
            parent.children.push(element);
            return None;
        }
        let raw = self.split();
        Some(Item::Element { element, raw })
    }

    fn split(&mut self) -> Bytes {
        let at = self.position.min(self.buffer.len());
        self.taken = self.taken.saturating_sub(at);
        self.position = 0;
        self.buffer.split_to(at).freeze()
    }
}

fn header(attributes: &AttrMap) -> Header {
    let value = |name: &str| attributes.get("", name).cloned();
    Header {
        to: value("to"),
        from: value("from"),
        id: value("id"),
        version: value("version"),
    }
}

fn plain(attributes: &AttrMap) -> Vec<(String, String)> {
    let named = attributes.iter();
    let plain = named.filter(|((namespace, _), _)| namespace.as_str().is_empty());
    plain
        .map(|((_, name), value)| (name.as_str().to_owned(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "<?xml version='1.0'?>\n<stream:stream to='example.com' version='1.0' xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams'> <a x='1'><b xmlns='urn:b'>t&amp;u</b></a>\n\
        <c/></stream:stream>";

    fn items(chunks: &[&[u8]]) -> Result<Vec<Item>, FramingError> {
        let mut framer = Framer::new(10_000);
        let mut items = Vec::new();
        for chunk in chunks {
            framer.push(chunk);
            while let Some(item) = framer.next_item()? {
                items.push(item);
            }
        }
        Ok(items)
    }

    #[test]
    fn a_stream_is_cut_into_header_elements_and_end() {
        let items = items(&[STREAM.as_bytes()]).unwrap();

        let [
            Item::Open { header, .. },
            Item::Element { element: a, raw },
            Item::Element { element: c, .. },
            Item::Close { .. },
        ] = items.as_slice()
        else {
            panic!("{items:?}")
        };
        assert_eq!(header.to.as_deref(), Some("example.com"));
        assert_eq!(header.version.as_deref(), Some("1.0"));
        assert!(a.is("jabber:client", "a") && c.is("jabber:client", "c"));
        assert_eq!(a.attribute("x"), Some("1"));
        let b = a.child("urn:b", "b").unwrap();
        assert_eq!(b.text, "t&u");
        assert_eq!(&raw[b.span.clone()], b"<b xmlns='urn:b'>t&amp;u</b>");
        assert_eq!(&raw[..], b" <a x='1'><b xmlns='urn:b'>t&amp;u</b></a>");
    }

    #[test]
    fn an_empty_element_is_whole_as_soon_as_it_ends() {
        let open = STREAM.split(" <a").next().unwrap();

        let items = items(&[open.as_bytes(), b"<starttls xmlns='urn:t'/>"]).unwrap();

        assert_eq!(items.len(), 2);
    }

    #[test]
    fn what_streams_may_not_have_is_refused() {
        for bad in [
            "<!DOCTYPE a [<!ENTITY b 'c'>]><stream:stream xmlns:stream='http://etherx.jabber.org/streams'>",
            "<html/>",
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'><!-- c -->",
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'><?php ?>",
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'><a>&b;</a>",
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>text<a/>",
            "GET / HTTP/1.1\r\n",
        ] {
            assert!(items(&[bad.as_bytes()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_or_deep_element_is_refused_before_it_ends() {
        let open = STREAM.split(" <a").next().unwrap();
        let long = format!("{open}<a>{}", "x".repeat(10_000));
        let deep = format!("{open}{}", "<a>".repeat(limits::XMPP_DEPTH_MAX + 1));

        assert_eq!(
            items(&[long.as_bytes()]),
            Err(FramingError::TooLong(10_000))
        );
        assert_eq!(items(&[deep.as_bytes()]), Err(FramingError::TooDeep));
    }

    #[test]
    fn what_follows_an_item_is_the_rest() {
        let mut framer = Framer::new(10_000);
        framer.push(STREAM.as_bytes());

        while let Some(item) = framer.next_item().unwrap() {
            if matches!(item, Item::Element { .. }) {
                break;
            }
        }

        assert_eq!(&framer.into_rest()[..], b"\n<c/></stream:stream>");
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_items(cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut start = 0;
            for cut in cuts {
                chunks.push(&STREAM.as_bytes()[start..cut]);
                start = cut;
            }
            chunks.push(&STREAM.as_bytes()[start..]);

            prop_assert_eq!(items(&chunks), items(&[STREAM.as_bytes()]));
        }
    }
}
