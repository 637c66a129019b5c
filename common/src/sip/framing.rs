//! Cuts what arrives into messages: a stream by `Content-Length` (RFC 3261 section 18.3), a datagram as it comes. Keep-alives
//! between messages (RFC 5626 section 3.5.1) and STUN messages (RFC 8489) come out as items of their own.

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem;

use super::message::{Fault, Message, ParseError};
use crate::limits;

/// What the sender of a stream did wrong; nothing after it can be read.
pub type FramingError = ParseError;

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Two line ends: a keep-alive that wants one line end back.
    Ping,
    /// A STUN message.
    Stun(Bytes),
    /// A whole SIP message; not yet parsed.
    Message(Bytes),
}

/// What the stream is in the middle of: which deadline counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Between two messages; nothing is held.
    Between,
    /// In a head.
    Head,
    /// In a body.
    Body,
}

/// A stream on its way into items. Take items until there is none after every push: then at most one unfinished message is
/// held, and nothing at all between two messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// How much of the head was searched for its end.
    searched: usize,
    /// What the buffer begins with, once that is known, and its length.
    coming: Option<(Kind, usize)>,
    /// Octets of `CR LF CR LF` taken between messages.
    line_ends: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stun,
    Message,
}

const LINE_ENDS: &[u8; 4] = b"\r\n\r\n";

impl Framer {
    /// Nothing has arrived.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what arrived next.
    pub fn push(&mut self, bytes: &[u8]) {
        if let Some((_, length)) = self.coming {
            self.buffer
                .reserve(length.saturating_sub(self.buffer.len()).max(bytes.len()));
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// What the stream is in the middle of.
    #[must_use]
    pub fn progress(&self) -> Progress {
        match self.coming {
            Some((Kind::Message, _)) => Progress::Body,
            _ if self.buffer.is_empty() => Progress::Between,
            _ => Progress::Head,
        }
    }

    /// Octets of memory that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next item, if it is whole.
    ///
    /// # Errors
    /// [`FramingError`]: the stream can't be read on. It has the message if there is enough of it to answer.
    #[expect(
        clippy::should_implement_trait,
        reason = "an end of items is no end of the stream"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, FramingError> {
        if self.coming.is_none() {
            if self.takes_ping()? {
                return Ok(Some(Item::Ping));
            }
            self.coming = self.look()?;
        }
        let Some((kind, length)) = self.coming else {
            return Ok(None);
        };
        if self.buffer.len() < length {
            return Ok(None);
        }
        let item = self.buffer.split_to(length).freeze();
        self.coming = None;
        self.searched = 0;
        self.release();
        Ok(Some(match kind {
            Kind::Stun => Item::Stun(item),
            Kind::Message => Item::Message(item),
        }))
    }

    /// Skips line ends between messages; four octets of them are a ping.
    fn takes_ping(&mut self) -> Result<bool, FramingError> {
        while let Some(byte) = self.buffer.first() {
            let wanted = LINE_ENDS.get(usize::from(self.line_ends));
            if wanted == Some(byte) {
                self.buffer.advance(1);
                self.line_ends = self.line_ends.wrapping_add(1) % 4;
                if self.line_ends == 0 {
                    self.release();
                    return Ok(true);
                }
                continue;
            }
            if self.line_ends % 2 == 1 || *byte == b'\n' {
                return Err(Fault::LineEnd.into());
            }
            self.line_ends = 0;
            return Ok(false);
        }
        self.release();
        Ok(false)
    }

    /// What the buffer begins with, if enough of it is there to say.
    fn look(&mut self) -> Result<Option<(Kind, usize)>, FramingError> {
        match self.buffer.first() {
            None => Ok(None),
            Some(0..=3) => Ok(stun_length(&self.buffer)?.map(|length| (Kind::Stun, length))),
            Some(_) => Ok(self.message_length()?.map(|length| (Kind::Message, length))),
        }
    }

    fn message_length(&mut self) -> Result<Option<usize>, FramingError> {
        let head = self.buffer.get(..limits::SIP_HEAD_BYTES_MAX);
        let head = head.unwrap_or(&self.buffer);
        let from = self.searched.saturating_sub(LINE_ENDS.len());
        let Some(found) = memmem::find(head.get(from..).unwrap_or_default(), LINE_ENDS) else {
            if head.len() == limits::SIP_HEAD_BYTES_MAX {
                return Err(Fault::HeadTooLong.into());
            }
            self.searched = head.len();
            return Ok(None);
        };
        let body = from.saturating_add(found).saturating_add(LINE_ENDS.len());
        let head = head.get(..body).unwrap_or_default();
        Message::length_of(head).map(Some)
    }

    /// Lets go of the memory of what was taken.
    fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

/// The length of a STUN message, once its head is there.
fn stun_length(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    const HEAD: usize = 20;
    const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
    let Some([_, _, high, low, cookie @ ..]) = bytes.first_chunk::<8>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let whole = length.saturating_add(HEAD);
    if *cookie != COOKIE || length % 4 != 0 || whole > limits::SIP_STUN_BYTES_MAX {
        return Err(Fault::Stun);
    }
    Ok(Some(whole))
}

/// Reads one datagram, or one message of a WebSocket (RFC 7118 section 5.2). Line ends before a message are skipped; nothing
/// but line ends is a ping.
///
/// # Errors
/// [`FramingError`] for a STUN message that is none.
pub fn datagram(bytes: &[u8]) -> Result<Item, FramingError> {
    let mut rest = bytes;
    while let Some(skipped) = rest.strip_prefix(b"\r\n") {
        rest = skipped;
    }
    match rest.first() {
        None => Ok(Item::Ping),
        Some(0..=3) => match stun_length(rest)? {
            Some(length) if length == rest.len() => Ok(Item::Stun(Bytes::copy_from_slice(rest))),
            _ => Err(Fault::Stun.into()),
        },
        Some(_) => Ok(Item::Message(Bytes::copy_from_slice(rest))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REGISTER: &[u8] = b"REGISTER sip:x SIP/2.0\r\nVia: SIP/2.0/TLS a\r\nl: 3\r\n\r\nabc";
    const OPTIONS: &[u8] = b"OPTIONS sip:x SIP/2.0\r\nContent-Length :\r\n 0\r\n\r\n";
    const STUN: &[u8] = b"\x00\x01\x00\x04\x21\x12\xa4\x42aaaaaaaaaaaa1234";

    /// What comes out, with the fault at which it ends.
    fn items<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Item>, Option<Fault>) {
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
        (items, None)
    }

    fn message(bytes: &'static [u8]) -> Item {
        Item::Message(Bytes::from_static(bytes))
    }

    #[test]
    fn a_stream_comes_apart_into_messages_and_keep_alives() {
        let stream = [
            b"\r\n",
            REGISTER,
            b"\r\n\r\n",
            STUN,
            OPTIONS,
            b"\r\n\r\n\r\n",
            OPTIONS,
        ]
        .concat();

        let (items, fault) = items([&stream[..]]);

        let stun = Item::Stun(Bytes::from_static(STUN));
        let expected = [
            message(REGISTER),
            Item::Ping,
            stun,
            message(OPTIONS),
            Item::Ping,
            message(OPTIONS),
        ];
        assert_eq!((items.as_slice(), fault), (&expected[..], None));
    }

    #[test]
    fn between_messages_no_memory_is_held() {
        let mut framer = Framer::new();
        assert_eq!(framer.progress(), Progress::Between);

        framer.push(&REGISTER[..20]);
        assert_eq!(framer.next(), Ok(None));
        assert_eq!(framer.progress(), Progress::Head);
        framer.push(&REGISTER[20..REGISTER.len() - 1]);
        assert_eq!(framer.next(), Ok(None));
        assert_eq!(framer.progress(), Progress::Body);
        framer.push(b"c\r\n");
        assert!(framer.next().unwrap().is_some());
        assert_eq!(framer.next(), Ok(None));

        assert_eq!(framer.progress(), Progress::Between);
        assert_eq!(framer.held(), 0);
    }

    #[test]
    fn a_stream_that_can_not_be_read_on_says_why() {
        let long = [
            b"A: ".repeat(limits::SIP_HEAD_BYTES_MAX / 3),
            b"\r\n\r\n".to_vec(),
        ]
        .concat();
        for (stream, fault) in [
            (
                &b"OPTIONS sip:x SIP/2.0\r\nA: b\r\n\r\n"[..],
                Fault::NoContentLength,
            ),
            (
                b"OPTIONS sip:x SIP/2.0\r\nl: -1\r\n\r\n",
                Fault::ContentLength,
            ),
            (
                b"OPTIONS sip:x SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n",
                Fault::ContentLength,
            ),
            (b"OPTIONS sip:x SIP/2.0\r\nl: 65536\r\n\r\n", Fault::TooLong),
            (b"OPTIONS sip:x SIP/2.0\nl: 0\n\n\r\n\r\n", Fault::LineEnd),
            (b"OPTIONS sip:x SIP/2.0\r\nno colon\r\n\r\n", Fault::Header),
            (b"\nOPTIONS", Fault::LineEnd),
            (b"\rOPTIONS", Fault::LineEnd),
            (b"\x00\x01\x00\x04\x21\x12\xa4\x43", Fault::Stun),
            (b"\x00\x01\xff\x00\x21\x12\xa4\x42", Fault::Stun),
            (&long, Fault::HeadTooLong),
        ] {
            assert_eq!(items([stream]), (Vec::new(), Some(fault)), "{stream:?}");
        }
    }

    #[test]
    fn a_missing_length_can_be_answered() {
        let mut framer = Framer::new();
        framer.push(b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TLS a\r\n\r\n");

        let error = framer.next().unwrap_err();

        assert_eq!(error.status(), 400);
        assert!(error.message().is_some());
    }

    #[test]
    fn a_datagram_is_one_item() {
        assert_eq!(datagram(b"\r\n\r\n"), Ok(Item::Ping));
        assert_eq!(datagram(STUN), Ok(Item::Stun(Bytes::from_static(STUN))));
        assert_eq!(
            datagram(&STUN[..20]).map_err(|e| e.fault()),
            Err(Fault::Stun)
        );
        assert_eq!(datagram(&[b"\r\n", OPTIONS].concat()), Ok(message(OPTIONS)));
    }

    proptest! {
        #[test]
        fn how_a_stream_is_cut_changes_nothing(
            parts in prop::collection::vec(
                prop::sample::select(vec![REGISTER, OPTIONS, STUN, b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"x", b"A: b\r\n\r\n"]), 0..8),
            cuts in prop::collection::vec(1..40_usize, 1..20),
        ) {
            let stream = parts.concat();
            let whole = items([&stream[..]]);
            let mut rest = &stream[..];
            let mut chunks = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, tail) = rest.split_at(rest.len().min(*cut));
                chunks.push(chunk);
                rest = tail;
            }
            prop_assert_eq!(items(chunks), whole);
        }
    }
}
