//! What a client connection says on its stream between the edges: whole messages, and edge-c's commands about the
//! connection.
//!
//! A frame is a kind, a length of 24 bits, and so many octets. Knows nothing of what a message means.

#![warn(clippy::arithmetic_side_effects)]

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::limits;
use crate::policy::jail::UserTag;

/// One frame of a stream that carries messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// edge-c to edge-e: credentials were wrong, to be counted against the client's address and this user, if there is a
    /// name in them.
    AuthFailed(Option<UserTag>),
    /// edge-c to edge-e: close the client's connection once what came before is written.
    Close(FlowClose),
    /// edge-c to edge-e: what the client may send from now on. [`Gate::Register`] holds until the first of these; for
    /// XMPP, [`Gate::Open`] says that the client is authenticated.
    Gate(Gate),
    /// Either way: one whole message, never empty.
    Message(Bytes),
}

/// What edge-e lets through from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Every request.
    Open,
    /// Only what signs on: for SIP, REGISTER.
    Register,
}

impl Gate {
    const fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Register => 0,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Register),
            1 => Some(Self::Open),
            _ => None,
        }
    }
}

/// Why edge-c wants a client's connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowClose {
    /// edge-c stops; another core takes the client.
    Draining,
    /// The conversation is over: the server inside, or the client, has said so.
    Ended,
    /// A reason that this version doesn't know.
    Other,
    /// More is open than edge-c keeps.
    Overloaded,
    /// The client broke the protocol.
    PeerMisbehaved,
    /// The session or the credentials that the client signed on with count no more.
    Revoked,
    /// The client does not read what is sent to it.
    Slow,
    /// The client did not sign on in time.
    Unbound,
    /// The server inside is gone.
    UpstreamLost,
}

impl FlowClose {
    /// The name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Ended => "ended",
            Self::Other => "other",
            Self::Overloaded => "overloaded",
            Self::PeerMisbehaved => "peer_misbehaved",
            Self::Revoked => "revoked",
            Self::Slow => "slow",
            Self::Unbound => "unbound",
            Self::UpstreamLost => "upstream_lost",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Other => 0,
            Self::Draining => 1,
            Self::Overloaded => 2,
            Self::PeerMisbehaved => 3,
            Self::Revoked => 4,
            Self::Slow => 5,
            Self::Unbound => 6,
            Self::Ended => 7,
            Self::UpstreamLost => 8,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Draining,
            2 => Self::Overloaded,
            3 => Self::PeerMisbehaved,
            4 => Self::Revoked,
            5 => Self::Slow,
            6 => Self::Unbound,
            7 => Self::Ended,
            8 => Self::UpstreamLost,
            // A newer edge-c may know more reasons; the connection is to be closed for each of them.
            _ => Self::Other,
        }
    }
}

/// Why the octets of a stream are not frames. The stream can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// A message without octets.
    #[error("a message on the link is empty")]
    Empty,
    /// A command of the wrong length, or with a value that is not known.
    #[error("a frame of kind {kind} on the link is malformed")]
    Malformed {
        /// The kind.
        kind: u8,
    },
    /// A longer frame than either edge sends.
    #[error("a frame on the link has {0} octets, more than either edge sends")]
    TooLong(usize),
    /// A kind that is not known.
    #[error("a frame on the link has the unknown kind {0}")]
    UnknownKind(u8),
}

/// Appends `frame` to `out`.
///
/// # Errors
/// [`FlowError::Empty`] and [`FlowError::TooLong`] for a message that the other side would refuse; nothing is appended.
pub fn encode(frame: &Frame, out: &mut BytesMut) -> Result<(), FlowError> {
    match frame {
        Frame::AuthFailed(None) => head(kind::AUTH_FAILED, 0, out),
        Frame::AuthFailed(Some(user)) => {
            head(kind::AUTH_FAILED, USER_TAG_BYTES, out);
            out.extend_from_slice(user.octets());
        }
        Frame::Close(reason) => {
            head(kind::CLOSE, 1, out);
            out.put_u8(reason.code());
        }
        Frame::Gate(gate) => {
            head(kind::GATE, 1, out);
            out.put_u8(gate.code());
        }
        Frame::Message(message) => encode_message(message, out)?,
    }
    Ok(())
}

/// Appends a message that is nobody's own; see [`encode`].
///
/// # Errors
/// As [`encode`].
pub fn encode_message(message: &[u8], out: &mut BytesMut) -> Result<(), FlowError> {
    let len = check_len(message.len())?;
    out.reserve(message.len().saturating_add(HEAD_BYTES));
    head(kind::MESSAGE, len, out);
    out.extend_from_slice(message);
    Ok(())
}

/// A frame by itself; see [`encode`].
///
/// # Errors
/// As [`encode`].
pub fn encoded(frame: &Frame) -> Result<Bytes, FlowError> {
    let mut out = BytesMut::new();
    encode(frame, &mut out)?;
    Ok(out.freeze())
}

/// Takes frames out of a stream of octets, however these were cut. Holds nothing while no frame is begun.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: BytesMut,
}

impl Decoder {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// More octets. [`Self::next`] is to be called until it has nothing more, before the next of these.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// [`FlowError`] if the octets are not frames: a length is refused before its octets arrive.
    #[expect(
        clippy::should_implement_trait,
        reason = "fallible, and resumes after `None`"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, FlowError> {
        let Some((&[kind, a, b, c], rest)) = self.pending.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        check_head(kind, len)?;
        if rest.len() < len {
            return Ok(None);
        }
        self.pending.advance(HEAD_BYTES);
        let payload = self.pending.split_to(len).freeze();
        if self.pending.is_empty() {
            // The allocation goes with the last frame that was in it: idle streams hold none.
            self.pending = BytesMut::new();
        }
        read(kind, payload).map(Some)
    }

    /// Octets of a frame that has begun and is not whole.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

fn check_head(kind: u8, len: usize) -> Result<(), FlowError> {
    match kind {
        kind::MESSAGE => check_len(len).map(|_| ()),
        kind::CLOSE | kind::GATE if len == 1 => Ok(()),
        kind::AUTH_FAILED if len == 0 || len == USER_TAG_BYTES as usize => Ok(()),
        kind::CLOSE | kind::GATE | kind::AUTH_FAILED => Err(FlowError::Malformed { kind }),
        unknown => Err(FlowError::UnknownKind(unknown)),
    }
}

fn read(kind: u8, payload: Bytes) -> Result<Frame, FlowError> {
    let malformed = FlowError::Malformed { kind };
    match (kind, payload.first()) {
        (kind::MESSAGE, Some(_)) => Ok(Frame::Message(payload)),
        (kind::AUTH_FAILED, None) => Ok(Frame::AuthFailed(None)),
        (kind::AUTH_FAILED, Some(_)) => {
            let octets = <[u8; 16]>::try_from(payload.as_ref()).map_err(|_| malformed)?;
            Ok(Frame::AuthFailed(Some(UserTag::from_octets(octets))))
        }
        (kind::CLOSE, Some(code)) => Ok(Frame::Close(FlowClose::from_code(*code))),
        (kind::GATE, Some(code)) => Gate::from_code(*code).map(Frame::Gate).ok_or(malformed),
        _ => Err(malformed),
    }
}

fn check_len(len: usize) -> Result<u32, FlowError> {
    if len == 0 {
        return Err(FlowError::Empty);
    }
    if len > limits::FLOW_MESSAGE_BYTES_MAX {
        return Err(FlowError::TooLong(len));
    }
    u32::try_from(len).map_err(|_| FlowError::TooLong(len))
}

fn head(kind: u8, len: u32, out: &mut BytesMut) {
    let [_, a, b, c] = len.to_be_bytes();
    out.extend_from_slice(&[kind, a, b, c]);
}

/// A kind and a length of 24 bits.
const HEAD_BYTES: usize = 4;
const USER_TAG_BYTES: u32 = 16;
const _: () = assert!(limits::FLOW_MESSAGE_BYTES_MAX < 1 << 24);

mod kind {
    pub(super) const MESSAGE: u8 = 0;
    pub(super) const GATE: u8 = 1;
    pub(super) const CLOSE: u8 = 2;
    pub(super) const AUTH_FAILED: u8 = 3;
}

/// Any octets in any pieces give the same frames as in one piece, and what was read encodes to what was there.
///
/// # Panics
/// If not.
#[cfg(any(test, feature = "test-util"))]
pub fn fuzz(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = decode_in(bytes.len(), bytes);
    let pieces = decode_in(usize::from(piece), bytes);
    assert_eq!(whole, pieces, "how a stream is cut says nothing");
    let mut again = BytesMut::new();
    for frame in &whole.0 {
        assert_eq!(encode(frame, &mut again), Ok(()), "{frame:?}");
    }
    let is_other_close = whole.0.contains(&Frame::Close(FlowClose::Other));
    let is_same = bytes.get(..again.len()).is_some_and(|read| read == again);
    assert!(is_other_close || is_same, "frames read back as they stood");
}

#[cfg(any(test, feature = "test-util"))]
fn decode_in(piece: usize, bytes: &[u8]) -> (Vec<Frame>, Option<FlowError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for chunk in bytes.chunks(piece.max(1)) {
        decoder.push(chunk);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(
            decoder.pending()
                <= HEAD_BYTES
                    .saturating_add(limits::FLOW_MESSAGE_BYTES_MAX)
                    .saturating_add(chunk.len())
        );
    }
    (frames, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Frame> {
        let closes = [
            FlowClose::Draining,
            FlowClose::Ended,
            FlowClose::Other,
            FlowClose::Overloaded,
            FlowClose::PeerMisbehaved,
            FlowClose::Revoked,
            FlowClose::Slow,
            FlowClose::Unbound,
            FlowClose::UpstreamLost,
        ];
        let mut frames = vec![
            Frame::Message(Bytes::from_static(b"REGISTER sip:example.com SIP/2.0\r\n")),
            Frame::Gate(Gate::Register),
            Frame::Gate(Gate::Open),
            Frame::AuthFailed(None),
            Frame::AuthFailed(Some(UserTag::of("alice"))),
            Frame::Message(vec![7; limits::FLOW_MESSAGE_BYTES_MAX].into()),
        ];
        frames.extend(closes.map(Frame::Close));
        frames
    }

    fn bytes_of(frames: &[Frame]) -> BytesMut {
        let mut bytes = BytesMut::new();
        for frame in frames {
            encode(frame, &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn frames_read_back_as_written_however_the_stream_is_cut() {
        let bytes = bytes_of(&all());

        for piece in [1, 3, 4, 5, 1000, bytes.len()] {
            assert_eq!(decode_in(piece, &bytes), (all(), None), "pieces of {piece}");
        }
    }

    #[test]
    fn a_length_that_nobody_sends_is_refused_before_its_octets_arrive() {
        let mut decoder = Decoder::new();
        decoder.push(&[0, 0xff, 0xff, 0xff]);

        assert_eq!(decoder.next(), Err(FlowError::TooLong(0x00ff_ffff)));
    }

    #[test]
    fn what_is_not_a_frame_says_why() {
        for (bytes, error) in [
            (&[9, 0, 0, 0][..], FlowError::UnknownKind(9)),
            (&[0, 0, 0, 0], FlowError::Empty),
            (&[1, 0, 0, 2], FlowError::Malformed { kind: 1 }),
            (&[1, 0, 0, 1, 9], FlowError::Malformed { kind: 1 }),
            (&[3, 0, 0, 1], FlowError::Malformed { kind: 3 }),
        ] {
            assert_eq!(decode_in(4, bytes), (vec![], Some(error)), "{bytes:?}");
        }
    }

    #[test]
    fn a_message_that_would_be_refused_is_not_written() {
        let mut out = BytesMut::new();
        let long = Bytes::from(vec![0; limits::FLOW_MESSAGE_BYTES_MAX + 1]);

        assert_eq!(
            encode(&Frame::Message(Bytes::new()), &mut out),
            Err(FlowError::Empty)
        );
        assert_eq!(
            encode(&Frame::Message(long), &mut out),
            Err(FlowError::TooLong(limits::FLOW_MESSAGE_BYTES_MAX + 1))
        );
        assert!(out.is_empty());
    }

    #[test]
    fn a_reason_that_is_not_known_still_closes() {
        assert_eq!(
            decode_in(9, &[2, 0, 0, 1, 200]),
            (vec![Frame::Close(FlowClose::Other)], None)
        );
    }

    #[test]
    fn an_idle_decoder_holds_no_memory() {
        let mut decoder = Decoder::new();
        decoder.push(&bytes_of(&[Frame::AuthFailed(None)]));

        assert_eq!(decoder.next(), Ok(Some(Frame::AuthFailed(None))));

        assert_eq!(decoder.pending.capacity(), 0);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_alike_in_any_pieces(bytes: Vec<u8>) {
            fuzz(&bytes);
        }
    }
}
