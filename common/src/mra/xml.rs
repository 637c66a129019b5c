//! A small XML 1.0 document read into a tree, with strict bounds.
//!
//! Not a general reader: no document type, no entities but the five of the standard, no processing instructions, UTF-8
//! only, and no text between elements.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use crate::limits;

/// An element with its attributes, and either text or child elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// The tag, with its namespace prefix if it has one.
    pub name: String,
    /// Attributes in document order; no name occurs twice.
    pub attributes: Vec<(String, String)>,
    /// Child elements in document order.
    pub children: Vec<Self>,
    /// The text, unescaped and trimmed; empty if there are child elements.
    pub text: String,
}

impl Element {
    /// The value of the attribute `name`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first child element called `name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All child elements called `name`.
    pub fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

/// Why bytes are not a document that is accepted here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// More attributes than [`limits::XML_ATTRIBUTES_MAX`].
    #[error("an element has too many attributes")]
    Attributes,
    /// A character that XML 1.0 forbids, written plainly or as a reference.
    #[error("a character is not allowed in XML")]
    Character,
    /// Deeper than [`limits::XML_DEPTH_MAX`].
    #[error("elements are nested too deeply")]
    Depth,
    /// A document type declaration: it could define entities that grow without bound.
    #[error("a document type is not accepted")]
    Doctype,
    /// More elements than [`limits::XML_ELEMENTS_MAX`].
    #[error("there are too many elements")]
    Elements,
    /// Another encoding than UTF-8, or another version than 1.0.
    #[error("only XML 1.0 in UTF-8 is accepted")]
    Encoding,
    /// An entity that is not one of the five of the standard.
    #[error("an entity is not accepted")]
    Entity,
    /// A processing instruction.
    #[error("a processing instruction is not accepted")]
    Instruction,
    /// Not well-formed; the text says where.
    #[error("the document is not well-formed: {0}")]
    Malformed(String),
    /// Text beside child elements.
    #[error("text stands between elements")]
    Mixed,
    /// No element, more than one, or something after the last.
    #[error("there must be exactly one outer element")]
    Root,
    /// Longer than the caller allows.
    #[error("the document is too long")]
    TooLong,
}

impl From<quick_xml::Error> for XmlError {
    fn from(error: quick_xml::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Reads a document of at most `bytes_max` bytes and gives its outer element.
///
/// # Errors
/// [`XmlError`] if the document is not well-formed or goes beyond what is accepted here.
pub fn parse(document: &[u8], bytes_max: usize) -> Result<Element, XmlError> {
    if document.len() > bytes_max {
        return Err(XmlError::TooLong);
    }
    let text = std::str::from_utf8(document).map_err(|_| XmlError::Encoding)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.chars().all(is_xml_char) {
        return Err(XmlError::Character);
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    let mut tree = Tree::default();
    loop {
        match reader.read_event()? {
            Event::Start(start) => tree.open(&start)?,
            Event::Empty(start) => {
                tree.open(&start)?;
                tree.close()?;
            }
            Event::End(_) => tree.close()?,
            Event::Text(text) => tree.push_text(&text.xml10_content())?,
            Event::CData(text) => tree.push_text(&text.xml10_content())?,
            Event::GeneralRef(reference) => tree.push_reference(&reference)?,
            Event::Decl(decl) => check_declaration(&decl, &tree)?,
            Event::Comment(_) => {}
            Event::PI(_) => return Err(XmlError::Instruction),
            Event::DocType(_) => return Err(XmlError::Doctype),
            Event::Eof => return tree.finish(),
        }
    }
}

/// The elements that are still open, outermost first.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    elements: usize,
    root: Option<Element>,
}

impl Tree {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), XmlError> {
        if self.open.is_empty() && self.root.is_some() {
            return Err(XmlError::Root);
        }
        if self.open.len() >= limits::XML_DEPTH_MAX {
            return Err(XmlError::Depth);
        }
        if self.elements >= limits::XML_ELEMENTS_MAX {
            return Err(XmlError::Elements);
        }
        self.elements = self.elements.saturating_add(1);
        let mut element = Element {
            name: start.name().as_ref().to_owned(),
            ..Element::default()
        };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(quick_xml::Error::from)?;
            if element.attributes.len() >= limits::XML_ATTRIBUTES_MAX {
                return Err(XmlError::Attributes);
            }
            let value = attribute
                .normalized_value(XmlVersion::Explicit1_0)
                .map_err(|_| XmlError::Entity)?;
            if !value.chars().all(is_xml_char) {
                return Err(XmlError::Character);
            }
            element
                .attributes
                .push((attribute.key.as_ref().to_owned(), value.into_owned()));
        }
        self.open.push(element);
        Ok(())
    }

    fn close(&mut self) -> Result<(), XmlError> {
        let mut element = self.open.pop().ok_or(XmlError::Root)?;
        let trimmed = element.text.trim_matches(is_xml_space);
        if !element.children.is_empty() && !trimmed.is_empty() {
            return Err(XmlError::Mixed);
        }
        if trimmed.len() != element.text.len() {
            element.text = trimmed.to_owned();
        }
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn push_text(&mut self, text: &str) -> Result<(), XmlError> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.chars().all(is_xml_space) => {}
            None => return Err(XmlError::Root),
        }
        Ok(())
    }

    fn push_reference(&mut self, reference: &BytesRef<'_>) -> Result<(), XmlError> {
        if self.open.is_empty() {
            return Err(XmlError::Root);
        }
        if let Some(character) = reference.resolve_char_ref()? {
            if !is_xml_char(character) {
                return Err(XmlError::Character);
            }
            return self.push_text(character.encode_utf8(&mut [0; 4]));
        }
        let text = resolve_predefined_entity(reference).ok_or(XmlError::Entity)?;
        self.push_text(text)
    }

    fn finish(self) -> Result<Element, XmlError> {
        if self.open.is_empty() {
            self.root.ok_or(XmlError::Root)
        } else {
            Err(XmlError::Malformed("an element is not closed".to_owned()))
        }
    }
}

fn check_declaration(decl: &BytesDecl<'_>, tree: &Tree) -> Result<(), XmlError> {
    if tree.elements > 0 {
        return Err(XmlError::Instruction);
    }
    let is_one = decl.version()? == "1.0";
    let is_utf8 = match decl.encoding() {
        None => true,
        Some(encoding) => {
            let encoding = encoding.map_err(quick_xml::Error::from)?;
            encoding.eq_ignore_ascii_case("utf-8") || encoding.eq_ignore_ascii_case("us-ascii")
        }
    };
    if is_one && is_utf8 {
        Ok(())
    } else {
        Err(XmlError::Encoding)
    }
}

/// XML 1.0 section 2.2, production 2.
const fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// XML 1.0 section 2.3, production 3.
const fn is_xml_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    fn read(text: &str) -> Result<Element, XmlError> {
        parse(text.as_bytes(), BYTES_MAX)
    }

    #[test]
    fn attributes_text_and_the_five_entities_are_read() {
        let root =
            read("<?xml version='1.0' encoding='utf-8'?>\n<a b='1 &amp; 2'>\n <c> &lt;x&#x41;&gt; </c><d/></a>\n")
                .unwrap();

        assert_eq!(root.name, "a");
        assert_eq!(root.attribute("b"), Some("1 & 2"));
        assert_eq!(root.child("c").unwrap().text, "<xA>");
        assert_eq!(root.children_named("d").count(), 1);
    }

    #[test]
    fn what_could_grow_or_mislead_is_refused() {
        for (text, error) in [
            (
                "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
                XmlError::Doctype,
            ),
            ("<a>&x;</a>", XmlError::Entity),
            ("<a b='&x;'/>", XmlError::Entity),
            ("<a>&#1;</a>", XmlError::Character),
            ("<a b='&#1;'/>", XmlError::Character),
            ("<a>\u{1}</a>", XmlError::Character),
            ("<a/><b/>", XmlError::Root),
            ("<a/>x", XmlError::Root),
            ("", XmlError::Root),
            ("<a>x<b/></a>", XmlError::Mixed),
            ("<?x y?><a/>", XmlError::Instruction),
            ("<a/><?xml version='1.0'?>", XmlError::Instruction),
            (
                "<?xml version='1.0' encoding='latin1'?><a/>",
                XmlError::Encoding,
            ),
            ("<?xml version='1.1'?><a/>", XmlError::Encoding),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
        for text in ["<a>", "<a></b>", "<a b='1' b='2'/>", "<a b=1/>", "</a>"] {
            assert!(
                matches!(read(text), Err(XmlError::Malformed(_))),
                "{text}: {:?}",
                read(text)
            );
        }
        assert_eq!(parse(b"<a>\xff</a>", BYTES_MAX), Err(XmlError::Encoding));
    }

    #[test]
    fn each_bound_holds_exactly() {
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        let wide = |n: usize| format!("<a>{}</a>", "<b/>".repeat(n));
        let attributes = |n: usize| {
            use std::fmt::Write as _;
            let mut text = "<a".to_owned();
            for i in 0..n {
                write!(text, " b{i}=''").unwrap();
            }
            text + "/>"
        };

        assert!(read(&nested(limits::XML_DEPTH_MAX)).is_ok());
        assert_eq!(
            read(&nested(limits::XML_DEPTH_MAX + 1)),
            Err(XmlError::Depth)
        );
        assert!(read(&wide(limits::XML_ELEMENTS_MAX - 1)).is_ok());
        assert_eq!(
            read(&wide(limits::XML_ELEMENTS_MAX)),
            Err(XmlError::Elements)
        );
        assert!(read(&attributes(limits::XML_ATTRIBUTES_MAX)).is_ok());
        assert_eq!(
            read(&attributes(limits::XML_ATTRIBUTES_MAX + 1)),
            Err(XmlError::Attributes)
        );
        assert!(parse(b"<a/>", 4).is_ok());
        assert_eq!(parse(b"<a/>", 3), Err(XmlError::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            drop(parse(&bytes, BYTES_MAX));
        }
    }
}
