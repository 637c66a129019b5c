//! Protecting what goes to a peer.

use super::cipher::Cipher;
use super::receive::fresh;
use super::source::Sources;
use super::{KeyRefused, SrtpError};
use crate::media::plan::SrtpKeys;
use crate::media::rtcp;
use crate::media::rtp::RtpHeader;

/// The last index of RTCP under one key (RFC 3711 section 9.2): 2^31 packets.
const RTCP_INDEX_MAX: u32 = 0x7fff_ffff;

/// The sending end of a stream.
#[derive(Debug)]
pub struct Sender {
    keys: SrtpKeys,
    cipher: Cipher,
    sources: Sources,
    /// The next index of RTCP. One count for all sources: each sees it grow, and none sees a number twice.
    rtcp_index: u32,
}

impl Sender {
    /// A sender that protects with `keys`.
    ///
    /// # Errors
    /// [`KeyRefused`] if the crypto library can't use them.
    pub fn new(keys: &SrtpKeys) -> Result<Self, KeyRefused> {
        Ok(Self {
            cipher: Cipher::new(keys)?,
            keys: keys.clone(),
            sources: Sources::default(),
            rtcp_index: 0,
        })
    }

    /// What it protects with.
    #[must_use]
    pub const fn keys(&self) -> &SrtpKeys {
        &self.keys
    }

    /// Protects the RTP packet with the header `header` in the first `len` octets of `buffer`; behind it must be room for
    /// what is added. Returns its new length.
    ///
    /// A packet that repeats a sequence number is refused: two packets under one key stream would give both away.
    ///
    /// # Errors
    /// [`SrtpError`] if it can't be sent; the packet is of no more use then.
    pub fn seal_rtp(
        &mut self,
        buffer: &mut [u8],
        len: usize,
        header: &RtpHeader,
    ) -> Result<usize, SrtpError> {
        let window = &mut self.sources.admit(header.ssrc)?.rtp;
        let index = fresh(window, header.sequence)?;
        window.insert(index);
        self.cipher
            .seal_rtp(buffer, len, header.len, header.ssrc, index)
    }

    /// Protects the RTCP packet in the first `len` octets of `buffer`. Returns its new length.
    ///
    /// # Errors
    /// [`SrtpError`] if it can't be sent; the packet is of no more use then.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = buffer.get(..len).ok_or(SrtpError::TooLong)?;
        let ssrc = rtcp::sender(packet).map_err(|_| SrtpError::Malformed)?;
        let index = self.rtcp_index;
        if index > RTCP_INDEX_MAX {
            return Err(SrtpError::Exhausted);
        }
        self.rtcp_index = index.saturating_add(1);
        self.cipher.seal_rtcp(buffer, len, ssrc, index)
    }
}
