//! Follows where the parts of a stream begin and end, without reading them: what may be put between two stanzas, and what
//! one message of a WebSocket has to hold. A dozen octets of memory, for streams that live for days.
//!
//! It trusts the stream to be well-formed: a peer that isn't gains a place of its own choice for the end of its stream.

#![warn(clippy::arithmetic_side_effects)]

use memchr::{memchr, memchr3};

/// A part of a stream that has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// An XML declaration.
    Declaration,
    /// A whole element on the first level.
    Element,
    /// The end of the stream.
    End,
    /// The stream header.
    Header,
}

/// Where a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between two elements of the first level: another one may be put here.
    Between,
    /// No header has come, or the stream has ended.
    Outside,
    /// Within something.
    Within,
}

/// The scanner of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundaries {
    depth: u32,
    lexeme: Lexeme,
    /// The octet before the next one: `/` tells an empty element, `?` and `]` the end of what they began.
    last: [u8; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lexeme {
    /// `<![CDATA[` until `]]>`.
    CharacterData,
    /// `<?` until `?>`.
    Declaration,
    /// `</` until `>`.
    EndTag,
    /// Something that streams don't have: nothing is known any more.
    Lost,
    /// A quoted value in a start tag.
    Quoted(u8),
    /// `<name` until `>`.
    StartTag,
    /// `<` and nothing yet.
    Tag,
    /// Text.
    Text,
}

impl Default for Boundaries {
    fn default() -> Self {
        Self::new()
    }
}

impl Boundaries {
    /// Before the stream header.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            depth: 0,
            lexeme: Lexeme::Text,
            last: [0; 2],
        }
    }

    /// Behind the stream header.
    #[must_use]
    pub const fn opened() -> Self {
        Self {
            depth: 1,
            ..Self::new()
        }
    }

    /// Where the stream is after everything that was taken.
    #[must_use]
    pub fn place(&self) -> Place {
        match (self.lexeme, self.depth) {
            (Lexeme::Text, 0) => Place::Outside,
            (Lexeme::Text, 1) => Place::Between,
            (
                Lexeme::CharacterData
                | Lexeme::Declaration
                | Lexeme::EndTag
                | Lexeme::Lost
                | Lexeme::Quoted(_)
                | Lexeme::StartTag
                | Lexeme::Tag
                | Lexeme::Text,
                _,
            ) => Place::Within,
        }
    }

    /// Takes octets until a part ends: how many, and which part. Without one, all of them were taken.
    pub fn advance(&mut self, bytes: &[u8]) -> (usize, Option<Part>) {
        let mut rest = bytes;
        while let Some((&byte, after)) = self.skip(rest).split_first() {
            rest = after;
            let part = self.take(byte);
            self.last = [self.last[1], byte];
            if part.is_some() {
                return (bytes.len().saturating_sub(rest.len()), part);
            }
        }
        (bytes.len(), None)
    }

    /// Takes all octets.
    pub fn advance_all(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (taken, _) = self.advance(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Passes what can't matter: nearly all octets are text or values.
    fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let stop = match self.lexeme {
            Lexeme::Text => memchr(b'<', bytes),
            Lexeme::Quoted(quote) => memchr(quote, bytes),
            Lexeme::StartTag => memchr3(b'>', b'"', b'\'', bytes),
            Lexeme::EndTag | Lexeme::CharacterData | Lexeme::Declaration => memchr(b'>', bytes),
            Lexeme::Lost => None,
            Lexeme::Tag => Some(0),
        };
        let (passed, rest) = bytes
            .split_at_checked(stop.unwrap_or(bytes.len()))
            .unwrap_or((bytes, &[]));
        match passed {
            [.., a, b] => self.last = [*a, *b],
            [b] => self.last = [self.last[1], *b],
            [] => {}
        }
        rest
    }

    fn take(&mut self, byte: u8) -> Option<Part> {
        match (self.lexeme, byte) {
            (Lexeme::Text, b'<') => self.lexeme = Lexeme::Tag,
            (Lexeme::Tag, b'/') => self.lexeme = Lexeme::EndTag,
            (Lexeme::Tag, b'?') => self.lexeme = Lexeme::Declaration,
            (Lexeme::Tag, b'!') if self.depth > 1 => self.lexeme = Lexeme::CharacterData,
            (Lexeme::Tag, b'!' | b'>') => self.lexeme = Lexeme::Lost,
            (Lexeme::Tag, _) => self.lexeme = Lexeme::StartTag,
            (Lexeme::StartTag, b'"' | b'\'') => self.lexeme = Lexeme::Quoted(byte),
            (Lexeme::StartTag, b'>') => return self.end_start_tag(),
            (Lexeme::Quoted(quote), _) if quote == byte => self.lexeme = Lexeme::StartTag,
            (Lexeme::EndTag, b'>') => return self.end_tag(),
            (Lexeme::Declaration, b'>') if self.last[1] == b'?' => {
                self.lexeme = Lexeme::Text;
                return (self.depth <= 1).then_some(Part::Declaration);
            }
            (Lexeme::CharacterData, b'>') if self.last == *b"]]" => self.lexeme = Lexeme::Text,
            (
                Lexeme::CharacterData
                | Lexeme::Declaration
                | Lexeme::EndTag
                | Lexeme::Lost
                | Lexeme::Quoted(_)
                | Lexeme::StartTag
                | Lexeme::Text,
                _,
            ) => {}
        }
        None
    }

    fn end_start_tag(&mut self) -> Option<Part> {
        self.lexeme = Lexeme::Text;
        let is_empty = self.last[1] == b'/';
        match (self.depth, is_empty) {
            (1, true) => Some(Part::Element),
            (0, false) => {
                self.depth = 1;
                Some(Part::Header)
            }
            (0, true) => {
                self.lexeme = Lexeme::Lost;
                None
            }
            (_, true) => None,
            (_, false) => {
                self.depth = self.depth.saturating_add(1);
                None
            }
        }
    }

    fn end_tag(&mut self) -> Option<Part> {
        self.lexeme = Lexeme::Text;
        let before = self.depth;
        self.depth = before.saturating_sub(1);
        match before {
            0 => {
                self.lexeme = Lexeme::Lost;
                None
            }
            1 => Some(Part::End),
            2 => Some(Part::Element),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "<?xml version='1.0'?><stream:stream id='a>b' xmlns:stream=\"u'>\"> \n<a/><b x='/>'><c/>t\
        <![CDATA[</b>]]>]]&gt;</b><d y=\"1\" /></stream:stream>";

    fn parts(chunks: &[&str]) -> Vec<Part> {
        let mut boundaries = Boundaries::new();
        let mut parts = Vec::new();
        for chunk in chunks {
            let mut rest = chunk.as_bytes();
            while !rest.is_empty() {
                let (taken, part) = boundaries.advance(rest);
                parts.extend(part);
                rest = &rest[taken..];
            }
        }
        parts
    }

    #[test]
    fn the_parts_of_a_stream_are_found() {
        let expected = [
            Part::Declaration,
            Part::Header,
            Part::Element,
            Part::Element,
            Part::Element,
            Part::End,
        ];

        assert_eq!(parts(&[STREAM]), expected);
    }

    #[test]
    fn something_may_be_put_in_only_between_elements() {
        for (so_far, place) in [
            ("", Place::Outside),
            ("<?xml version='1.0'?>", Place::Outside),
            ("<s", Place::Within),
            ("<s>", Place::Between),
            ("<s> \n", Place::Between),
            ("<s><a", Place::Within),
            ("<s><a>text", Place::Within),
            ("<s><a><b/></a>", Place::Between),
            ("<s><a/></s>", Place::Outside),
            ("<s><!-- no -->", Place::Within),
        ] {
            let mut boundaries = Boundaries::new();
            boundaries.advance_all(so_far.as_bytes());

            assert_eq!(boundaries.place(), place, "{so_far}");
        }
    }

    #[test]
    fn it_stays_small() {
        assert!(size_of::<Boundaries>() <= 12);
    }

    proptest! {
        #[test]
        fn any_chunking_finds_the_same_parts(size in 1_usize..20) {
            let whole = parts(&[STREAM]);
            let chunks: Vec<&str> = STREAM.as_bytes().chunks(size).map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();

            prop_assert_eq!(parts(&chunks), whole);
        }

        #[test]
        fn whatever_comes_is_taken_to_the_end(bytes in prop::collection::vec(prop::sample::select(&b"<>/?!'\"[]a -"[..]), 0..60)) {
            let mut boundaries = Boundaries::new();
            boundaries.advance_all(&bytes);
        }
    }
}
