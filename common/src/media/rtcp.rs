//! Reading compound RTCP packets (RFC 3550 section 6): who sent them, and the fields that quality is measured by.

#![warn(clippy::arithmetic_side_effects)]

use crate::wire::Reader;

/// Octets at the front that stay readable when the packet is protected: the first head and the sender.
pub const CLEAR_BYTES: usize = 8;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;

/// Not an RTCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// The packet ends before its head does.
    #[error("ends within the head")]
    Truncated,
    /// The version is not 2.
    #[error("is of another version")]
    Version,
}

/// The SSRC of whoever sent the compound packet: all that can be read before it is opened.
///
/// # Errors
/// [`RtcpError`] if this is no RTCP.
pub fn sender(packet: &[u8]) -> Result<u32, RtcpError> {
    let clear = packet
        .first_chunk::<CLEAR_BYTES>()
        .ok_or(RtcpError::Truncated)?;
    let [first, .., a, b, c, d] = *clear;
    if first >> 6 != 2 {
        return Err(RtcpError::Version);
    }
    Ok(u32::from_be_bytes([a, b, c, d]))
}

/// What one part of a compound packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// How a receiver hears one source.
    Reception(Reception),
    /// The middle 32 bits of the sender's NTP time, by which receivers name this report.
    Sent {
        /// Sender.
        ssrc: u32,
        /// Middle 32 bits of its NTP time.
        ntp_middle: u32,
    },
}

/// One report block (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reception {
    /// The source that was heard.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning; may be negative (duplicates).
    pub lost: i32,
    /// Interarrival jitter, in units of the source's clock.
    pub jitter: u32,
    /// `ntp_middle` of the last sender report heard from the source; 0 if none was.
    pub last_report: u32,
    /// Time since then, in 1/65536 s.
    pub delay: u32,
}

/// Calls `each` with everything that the compound packet `packet` (already opened) says. Stops at the first part that
/// is cut off; at most 31 blocks each of as many parts as fit into a datagram.
pub fn read(packet: &[u8], mut each: impl FnMut(Report)) {
    let mut rest = Reader::new(packet);
    while let Ok([first, kind, a, b]) = rest.array() {
        let words = usize::from(u16::from_be_bytes([a, b]));
        let Ok(body) = rest.slice(words.saturating_mul(4)) else {
            return;
        };
        if first >> 6 != 2 {
            return;
        }
        let _: Option<()> = part(kind, first & 0x1f, body, &mut each);
    }
}

fn part(kind: u8, count: u8, body: &[u8], each: &mut impl FnMut(Report)) -> Option<()> {
    let mut reader = Reader::new(body);
    match kind {
        SENDER_REPORT => {
            let ssrc = reader.u32().ok()?;
            let [_, _, a, b, c, d, _, _]: [u8; 8] = reader.array().ok()?;
            each(Report::Sent {
                ssrc,
                ntp_middle: u32::from_be_bytes([a, b, c, d]),
            });
            // RTP timestamp, packets, octets.
            reader.slice(12).ok()?;
        }
        RECEIVER_REPORT => {
            reader.u32().ok()?;
        }
        _ => return Some(()),
    }
    for _ in 0..count {
        each(Report::Reception(reception(&mut reader)?));
    }
    Some(())
}

fn reception(reader: &mut Reader<'_>) -> Option<Reception> {
    let ssrc = reader.u32().ok()?;
    let [fraction_lost, a, b, c] = reader.array().ok()?;
    // A signed number of 24 bits: shifted in from the top so that the sign is kept.
    let lost = i32::from_be_bytes([a, b, c, 0]) >> 8;
    let _highest_sequence = reader.u32().ok()?;
    Some(Reception {
        ssrc,
        fraction_lost,
        lost,
        jitter: reader.u32().ok()?,
        last_report: reader.u32().ok()?,
        delay: reader.u32().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reports(packet: &[u8]) -> Vec<Report> {
        let mut found = Vec::new();
        read(packet, |report| found.push(report));
        found
    }

    #[test]
    fn a_compound_packet_is_read_part_by_part() {
        let mut packet = vec![0x81, 200, 0, 12, 0, 0, 0, 1];
        packet.extend([0, 0, 0xaa, 0xbb, 0xcc, 0xdd, 0, 0]); // NTP time
        packet.extend([0; 12]);
        packet.extend([0, 0, 0, 2, 64, 0xff, 0xff, 0xfe]); // SSRC 2, a quarter lost, -2 in all
        packet.extend([0, 0, 0, 9, 0, 0, 0, 80, 1, 2, 3, 4, 0, 1, 0, 0]);
        packet.extend([0x81, 202, 0, 1, 0, 0, 0, 0]); // SDES, passed over
        packet.extend([0x81, 203, 0, 1, 0, 0, 0, 1]);

        let found = reports(&packet);

        let reception = Reception {
            ssrc: 2,
            fraction_lost: 64,
            lost: -2,
            jitter: 80,
            last_report: 0x0102_0304,
            delay: 0x0001_0000,
        };
        let sent = Report::Sent {
            ssrc: 1,
            ntp_middle: 0xaabb_ccdd,
        };
        assert_eq!(found, [sent, Report::Reception(reception)]);
        assert_eq!(sender(&packet), Ok(1));
    }

    #[test]
    fn a_part_that_is_cut_off_ends_the_reading() {
        assert_eq!(reports(&[0x81, 203, 0, 9, 0, 0, 0, 1]), []);
        assert_eq!(reports(&[0x9f, 201, 0, 1, 0, 0, 0, 1]), []);
        assert_eq!(sender(&[0x80, 200, 0]), Err(RtcpError::Truncated));
        assert_eq!(sender(&[0; 8]), Err(RtcpError::Version));
    }

    proptest! {
        #[test]
        fn no_packet_gives_more_reports_than_it_has_room_for(packet: Vec<u8>) {
            prop_assert!(reports(&packet).len() <= packet.len() / 4);
        }
    }
}
