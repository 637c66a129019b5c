//! Labels of metrics for what the media modules know.

use super::label::Label;
use crate::media::anchor::Refusal;
use crate::media::class::MediaClass;
use crate::media::plan::StopReason;
use crate::media::session::DropReason;

impl Label for DropReason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &Self::ALL;

    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for MediaClass {
    const NAME: &'static str = "class";
    const ALL: &'static [Self] = &Self::ALL;

    fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Bfcp => "bfcp",
            Self::Ix => "ix",
            Self::Other => "other",
            Self::Presentation => "presentation",
            Self::T38 => "t38",
            Self::Video => "video",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Refusal {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[
        Self::DtlsOnly,
        Self::Glare,
        Self::InnerAddress,
        Self::Malformed,
        Self::NoMedia,
        Self::NoKeys,
        Self::NoKeysInside,
        Self::NoPorts,
        Self::PlainRtp,
        Self::PlainRtpInside,
        Self::TooLong,
    ];

    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for StopReason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[
        Self::Bye,
        Self::Cancel,
        Self::Failure,
        Self::Expired,
        Self::NoMedia,
        Self::Rejected,
    ];

    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<L: Label + PartialEq + std::fmt::Debug>() {
        for (index, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), index, "{value:?}");
        }
    }

    #[test]
    fn every_value_stands_where_it_says() {
        in_order::<DropReason>();
        in_order::<MediaClass>();
        in_order::<Refusal>();
        in_order::<StopReason>();
    }
}
