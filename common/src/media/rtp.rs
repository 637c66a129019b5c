//! Reading the header of an RTP packet (RFC 3550 section 5.1). The payload is never looked at.

#![warn(clippy::arithmetic_side_effects)]

use crate::wire::{Reader, Truncated};

/// Octets of the header without contributing sources and extension.
pub const HEADER_BYTES: usize = 12;

/// The fields that a relay reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// What the payload is; 7 bits.
    pub payload_type: u8,
    /// Grows by one with each packet.
    pub sequence: u16,
    /// Sampling time of the first octet, in units of the payload type's clock.
    pub timestamp: u32,
    /// Who sent it.
    pub ssrc: u32,
    /// Octets up to the payload: contributing sources and the extension are counted.
    pub len: usize,
}

/// Not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// The packet ends before its header does.
    #[error("ends within the header")]
    Truncated,
    /// The version is not 2.
    #[error("is of another version")]
    Version,
}

impl From<Truncated> for RtpError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl RtpHeader {
    /// Reads the header at the front of `packet`.
    ///
    /// # Errors
    /// [`RtpError`] if there is none.
    pub fn decode(packet: &[u8]) -> Result<Self, RtpError> {
        let mut reader = Reader::new(packet);
        let [first, second] = reader.array()?;
        if first >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let sequence = u16::from_be_bytes(reader.array()?);
        let timestamp = reader.u32()?;
        let ssrc = reader.u32()?;
        let contributing = usize::from(first & 0x0f);
        reader.slice(contributing.saturating_mul(4))?;
        if first & 0x10 != 0 {
            let _profile: [u8; 2] = reader.array()?;
            let words = u16::from_be_bytes(reader.array()?);
            reader.slice(usize::from(words).saturating_mul(4))?;
        }
        let payload = reader.all().len();
        Ok(Self {
            payload_type: second & 0x7f,
            sequence,
            timestamp,
            ssrc,
            len: packet.len().saturating_sub(payload),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_field_is_read_and_the_payload_is_found() {
        let packet = [
            0x91,
            0x80 | 96,
            0x12,
            0x34,
            0,
            0,
            0,
            7,
            0xde,
            0xad,
            0xbe,
            0xef, // header, one CSRC, extension
            0,
            0,
            0,
            9, // CSRC
            0xbe,
            0xde,
            0,
            1,
            1,
            2,
            3,
            4, // extension of one word
            42,
            43,
        ];

        let header = RtpHeader::decode(&packet).unwrap();

        let expected = RtpHeader {
            payload_type: 96,
            sequence: 0x1234,
            timestamp: 7,
            ssrc: 0xdead_beef,
            len: packet.len() - 2,
        };
        assert_eq!(header, expected);
    }

    #[test]
    fn what_is_no_rtp_is_refused() {
        let mut packet = [0_u8; 12];
        assert_eq!(RtpHeader::decode(&packet), Err(RtpError::Version));
        packet[0] = 0x80;
        assert_eq!(RtpHeader::decode(&packet[..11]), Err(RtpError::Truncated));
        assert!(RtpHeader::decode(&packet).is_ok());
        packet[0] = 0x81;
        assert_eq!(RtpHeader::decode(&packet), Err(RtpError::Truncated));
        packet[0] = 0x90;
        assert_eq!(RtpHeader::decode(&packet), Err(RtpError::Truncated));
    }

    proptest! {
        #[test]
        fn a_header_never_reaches_behind_its_packet(packet: Vec<u8>) {
            if let Ok(header) = RtpHeader::decode(&packet) {
                prop_assert!(header.len <= packet.len());
                prop_assert!(header.len >= HEADER_BYTES);
            }
        }
    }
}
