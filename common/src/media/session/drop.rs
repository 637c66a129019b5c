//! Why packets are dropped, and how many were.

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// Its tag is wrong.
    Authentication,
    /// Media may not flow this way: on hold.
    Direction,
    /// The key has protected as many packets as it may.
    Exhausted,
    /// Not an RTP or RTCP packet.
    Malformed,
    /// There is no key yet.
    NoKey,
    /// Nobody has said where to send it.
    NoRemote,
    /// No source has proved to be the client.
    NotLatched,
    /// It was there before.
    Replayed,
    /// It is not from whom it should be.
    Source,
    /// The stream has too many sources.
    Sources,
    /// It does not fit.
    TooLong,
    /// RTCP that should be encrypted and isn't.
    Unencrypted,
    /// A protocol that has no business in this stream.
    Unexpected,
}

impl DropReason {
    /// Every reason, in order.
    pub const ALL: [Self; 13] = [
        Self::Authentication,
        Self::Direction,
        Self::Exhausted,
        Self::Malformed,
        Self::NoKey,
        Self::NoRemote,
        Self::NotLatched,
        Self::Replayed,
        Self::Source,
        Self::Sources,
        Self::TooLong,
        Self::Unencrypted,
        Self::Unexpected,
    ];

    /// The name in logs and labels of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Direction => "direction",
            Self::Exhausted => "exhausted",
            Self::Malformed => "malformed",
            Self::NoKey => "no_key",
            Self::NoRemote => "no_remote",
            Self::NotLatched => "not_latched",
            Self::Replayed => "replayed",
            Self::Source => "source",
            Self::Sources => "sources",
            Self::TooLong => "too_long",
            Self::Unencrypted => "unencrypted",
            Self::Unexpected => "unexpected",
        }
    }

    /// Whether the client would not send such packets, so that a source that does is hardly the client. Other protocols
    /// it may well try: connectivity checks that were not agreed on, a handshake.
    pub(super) const fn is_suspicious(self) -> bool {
        match self {
            Self::Authentication
            | Self::Malformed
            | Self::Replayed
            | Self::Source
            | Self::Unencrypted => true,
            Self::Direction
            | Self::Exhausted
            | Self::NoKey
            | Self::NoRemote
            | Self::NotLatched
            | Self::Sources
            | Self::TooLong
            | Self::Unexpected => false,
        }
    }
}

/// Packets dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// How many were dropped for `reason`.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or_default()
    }

    /// How many were dropped for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    pub(super) fn count(&mut self, reason: DropReason) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count = count.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_count_of_its_own() {
        let mut drops = Drops::default();
        for reason in DropReason::ALL {
            drops.count(reason);
        }

        assert!(DropReason::ALL.iter().all(|reason| drops.of(*reason) == 1));
        assert_eq!(drops.total(), 13);
    }
}
