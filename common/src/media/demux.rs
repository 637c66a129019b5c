//! What a datagram on a media port is, by its first two octets (RFC 7983, RFC 5761).

/// The protocols that share a media port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// A DTLS record.
    Dtls,
    /// RTCP, protected or not.
    Rtcp,
    /// RTP, protected or not.
    Rtp,
    /// STUN.
    Stun,
    /// TURN channel data.
    TurnChannel,
    /// Nothing that belongs on a media port.
    Unknown,
}

/// Tells the protocol of `packet`; an empty datagram is [`PacketKind::Unknown`].
#[must_use]
pub const fn packet_kind(packet: &[u8]) -> PacketKind {
    match packet {
        // RFC 7983 section 7.
        [0..=3, ..] => PacketKind::Stun,
        [20..=63, ..] => PacketKind::Dtls,
        [64..=79, ..] => PacketKind::TurnChannel,
        // RFC 5761 section 4: the packet types of RTCP, which no payload type with its marker bit may take.
        [128..=191, 192..=223, ..] => PacketKind::Rtcp,
        [128..=191, _, ..] => PacketKind::Rtp,
        _ => PacketKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_octets_tell_the_protocol() {
        for (packet, kind) in [
            (&[][..], PacketKind::Unknown),
            (&[0, 1], PacketKind::Stun),
            (&[3], PacketKind::Stun),
            (&[4], PacketKind::Unknown),
            (&[20], PacketKind::Dtls),
            (&[63, 254], PacketKind::Dtls),
            (&[64], PacketKind::TurnChannel),
            (&[80], PacketKind::Unknown),
            (&[127, 200], PacketKind::Unknown),
            (&[128], PacketKind::Unknown),
            (&[128, 0], PacketKind::Rtp),
            (&[128, 191], PacketKind::Rtp),
            (&[128, 192], PacketKind::Rtcp),
            (&[0xa1, 200], PacketKind::Rtcp),
            (&[191, 223], PacketKind::Rtcp),
            (&[191, 224], PacketKind::Rtp),
            (&[192, 200], PacketKind::Unknown),
        ] {
            assert_eq!(packet_kind(packet), kind, "{packet:?}");
        }
    }
}
