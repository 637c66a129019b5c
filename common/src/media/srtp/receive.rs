//! Opening what a peer protected, under one of several keys.

use super::cipher::{Cipher, Opening};
use super::source::{Peek, Sources};
use super::window::Window;
use super::{KeyRefused, SrtpError};
use crate::limits;
use crate::media::plan::SrtpKeys;
use crate::media::rtcp;
use crate::media::rtp::RtpHeader;

/// The last index of a source (RFC 3711 section 9.2): 2^48 packets.
pub(super) const RTP_INDEX_MAX: u64 = (1 << 48) - 1;

/// A source that is heard of for the first time below this sequence number may have begun before it wrapped around: its
/// first packets were lost, or came before there was a key. Then its rollover counter is one already.
const WRAPPED_BELOW: u16 = 0x4000;

/// The receiving end of a stream. Before a call is answered it may have the keys of several peers.
#[derive(Debug, Default)]
pub struct Receiver {
    contexts: Vec<Context>,
    /// For opening a packet that may be tried again; empty if nothing ever is.
    aside: Vec<u8>,
}

/// One key with the sources that proved to have it.
#[derive(Debug)]
struct Context {
    keys: SrtpKeys,
    cipher: Cipher,
    sources: Sources,
}

impl Receiver {
    /// A receiver that tries `keys` in their order.
    ///
    /// # Errors
    /// [`KeyRefused`] if the crypto library can't use one of them.
    pub fn new(keys: &[SrtpKeys]) -> Result<Self, KeyRefused> {
        let mut receiver = Self::default();
        receiver.set_keys(keys)?;
        Ok(receiver)
    }

    /// From now on only `keys` are tried. What is known under a key that stays is kept.
    ///
    /// # Errors
    /// [`KeyRefused`] if the crypto library can't use one of them; everything stays as it was.
    pub fn set_keys(&mut self, keys: &[SrtpKeys]) -> Result<(), KeyRefused> {
        let is_new = |key: &&SrtpKeys| !self.contexts.iter().any(|context| context.keys == **key);
        let added: Result<Vec<_>, _> = keys.iter().filter(is_new).map(Context::new).collect();
        let added = added?;
        self.contexts.retain(|context| keys.contains(&context.keys));
        self.contexts.extend(added);
        if self
            .contexts
            .iter()
            .any(|context| !context.cipher.is_gentle())
        {
            self.aside.resize(limits::MEDIA_PACKET_BYTES_MAX, 0);
        }
        Ok(())
    }

    /// Whether there is any key.
    #[must_use]
    pub const fn has_keys(&self) -> bool {
        !self.contexts.is_empty()
    }

    /// Opens the RTP packet `packet` with the header `header`. Returns its new length. A packet that is not opened is of
    /// no more use.
    ///
    /// # Errors
    /// [`SrtpError`] if it is not authentic, or was there before.
    pub fn open_rtp(&mut self, packet: &mut [u8], header: &RtpHeader) -> Result<usize, SrtpError> {
        self.try_each(header.ssrc, |context, aside| {
            context.open_rtp(packet, header, aside)
        })
    }

    /// Opens the RTCP packet `packet`. Returns its new length. A packet that is not opened is of no more use.
    ///
    /// # Errors
    /// [`SrtpError`] if it is not authentic, or was there before.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp::sender(packet).map_err(|_| SrtpError::Malformed)?;
        self.try_each(ssrc, |context, aside| {
            context.open_rtcp(packet, ssrc, aside)
        })
    }

    /// Tries the keys under which the source is known, then the others. If all fail, what the first of them said.
    fn try_each(
        &mut self,
        ssrc: u32,
        mut open: impl FnMut(&mut Context, Option<&mut [u8]>) -> Result<usize, SrtpError>,
    ) -> Result<usize, SrtpError> {
        let is_alone = self.contexts.len() == 1;
        let mut failure = None;
        for is_known in [true, false] {
            let contexts = self.contexts.iter_mut();
            for context in contexts.filter(|context| context.sources.knows(ssrc) == is_known) {
                // Under a single key a known source has one index only.
                let aside = (!is_alone || !is_known).then_some(self.aside.as_mut_slice());
                match open(context, aside) {
                    Ok(len) => return Ok(len),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
        }
        Err(failure.unwrap_or(SrtpError::NoKey))
    }
}

impl Context {
    fn new(keys: &SrtpKeys) -> Result<Self, KeyRefused> {
        Ok(Self {
            cipher: Cipher::new(keys)?,
            keys: keys.clone(),
            sources: Sources::default(),
        })
    }

    fn open_rtp(
        &mut self,
        packet: &mut [u8],
        header: &RtpHeader,
        mut aside: Option<&mut [u8]>,
    ) -> Result<usize, SrtpError> {
        let (first, second) = match self.sources.peek(header.ssrc) {
            Peek::Active(source) => (fresh(&source.rtp, header.sequence)?, None),
            Peek::Displaced(source) => {
                let window = Window::after(source.rtp);
                (fresh(&window, header.sequence)?, None)
            }
            Peek::New => {
                let index = u64::from(header.sequence);
                let has_wrapped = header.sequence < WRAPPED_BELOW;
                (index, has_wrapped.then_some(index | 0x1_0000))
            }
        };
        let mut last = Err(SrtpError::Authentication);
        for index in [Some(first), second].into_iter().flatten() {
            let opening = opening(aside.as_deref_mut());
            last = self
                .cipher
                .open_rtp(packet, header.len, header.ssrc, index, opening);
            if last.is_ok() {
                self.sources.admit(header.ssrc)?.rtp.insert(index);
                break;
            }
        }
        last
    }

    fn open_rtcp(
        &mut self,
        packet: &mut [u8],
        ssrc: u32,
        aside: Option<&mut [u8]>,
    ) -> Result<usize, SrtpError> {
        let index = self.cipher.rtcp_index(packet)?;
        let is_fresh = match self.sources.peek(ssrc) {
            Peek::Active(source) => source.rtcp.is_fresh(u64::from(index)),
            Peek::Displaced(source) => source.rtcp.is_none_or(|end| u64::from(index) > end),
            Peek::New => true,
        };
        if !is_fresh {
            return Err(SrtpError::Replayed);
        }
        let len = self.cipher.open_rtcp(packet, ssrc, index, opening(aside))?;
        self.sources.admit(ssrc)?.rtcp.insert(u64::from(index));
        Ok(len)
    }
}

fn opening(aside: Option<&mut [u8]>) -> Opening<'_> {
    aside.map_or(Opening::InPlace, Opening::Through)
}

/// The index of the packet with this sequence number, if it was not there before.
pub(super) fn fresh(window: &Window, sequence: u16) -> Result<u64, SrtpError> {
    let index = window.estimate(sequence).ok_or(SrtpError::Replayed)?;
    if index > RTP_INDEX_MAX {
        return Err(SrtpError::Exhausted);
    }
    if !window.is_fresh(index) {
        return Err(SrtpError::Replayed);
    }
    Ok(index)
}
