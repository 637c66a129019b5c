//! The transport of an m-line: RTP under which protection and with which feedback, other things over UDP, or neither.

/// How RTP is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protected {
    /// Not at all: `RTP/AVP`.
    No,
    /// SRTP: `RTP/SAVP`.
    Srtp,
    /// SRTP with keys from DTLS: `UDP/TLS/RTP/SAVP` (RFC 5764).
    Dtls,
}

/// A profile of RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RtpProfile {
    /// Its protection.
    pub protected: Protected,
    /// With early feedback: `AVPF` (RFC 4585), `SAVPF` (RFC 5124).
    pub has_feedback: bool,
}

/// What the protocol field of an m-line means to the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// RTP over UDP.
    Rtp(RtpProfile),
    /// Something else over UDP: can be relayed unread.
    Udp,
    /// TCP, or nothing that is known: can't be relayed.
    Foreign,
}

impl RtpProfile {
    /// The same feedback without protection, or with SRTP.
    #[must_use]
    pub const fn with(self, protected: Protected) -> Self {
        Self {
            protected,
            has_feedback: self.has_feedback,
        }
    }

    /// The protocol field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match (self.protected, self.has_feedback) {
            (Protected::No, false) => "RTP/AVP",
            (Protected::No, true) => "RTP/AVPF",
            (Protected::Srtp, false) => "RTP/SAVP",
            (Protected::Srtp, true) => "RTP/SAVPF",
            (Protected::Dtls, false) => "UDP/TLS/RTP/SAVP",
            (Protected::Dtls, true) => "UDP/TLS/RTP/SAVPF",
        }
    }
}

impl Transport {
    /// Reads a protocol field in any letter case.
    #[must_use]
    pub fn parse(protocol: &str) -> Self {
        for protected in [Protected::No, Protected::Srtp, Protected::Dtls] {
            for has_feedback in [false, true] {
                let profile = RtpProfile {
                    protected,
                    has_feedback,
                };
                if profile.as_str().eq_ignore_ascii_case(protocol) {
                    return Self::Rtp(profile);
                }
            }
        }
        let first = protocol.split('/').next().unwrap_or_default();
        if first.eq_ignore_ascii_case("udp") || first.eq_ignore_ascii_case("udptl") {
            Self::Udp
        } else {
            Self::Foreign
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_reads_back_as_written() {
        for protected in [Protected::No, Protected::Srtp, Protected::Dtls] {
            for has_feedback in [false, true] {
                let profile = RtpProfile {
                    protected,
                    has_feedback,
                };

                assert_eq!(Transport::parse(profile.as_str()), Transport::Rtp(profile));
            }
        }
    }

    #[test]
    fn what_runs_over_udp_is_told_from_what_does_not() {
        for (protocol, transport) in [
            ("UDP/BFCP", Transport::Udp),
            ("UDP/TLS/BFCP", Transport::Udp),
            ("UDP/UDT/IX", Transport::Udp),
            ("udptl", Transport::Udp),
            ("UDP/DTLS/SCTP", Transport::Udp),
            ("TCP/BFCP", Transport::Foreign),
            ("TCP/TLS/RTP/SAVP", Transport::Foreign),
            ("TCP/MSRP", Transport::Foreign),
            ("RTP/AVPX", Transport::Foreign),
            ("", Transport::Foreign),
        ] {
            assert_eq!(Transport::parse(protocol), transport, "{protocol}");
        }
    }
}
