//! The figures of the comparison: what they are called, which way is better, and what is asked of them.

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    MemoryPerSome,
    MemoryPerMany,
    LoginsPerSecond,
    CpuPerLogin,
    MessagesPerSecond,
    MessagesPerCpu,
    MemoryAtStart,
    MemoryAfter,
}

impl Figure {
    pub(crate) const ALL: [Self; 8] = [
        Self::MemoryPerSome,
        Self::MemoryPerMany,
        Self::LoginsPerSecond,
        Self::CpuPerLogin,
        Self::MessagesPerSecond,
        Self::MessagesPerCpu,
        Self::MemoryAtStart,
        Self::MemoryAfter,
    ];

    /// What it is, with its unit.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::MemoryPerSome => "KiB per idle stream, 2,000",
            Self::MemoryPerMany => "KiB per idle stream, 9,500",
            Self::LoginsPerSecond => "logins/s",
            Self::CpuPerLogin => "CPU per login, us",
            Self::MessagesPerSecond => "messages/s",
            Self::MessagesPerCpu => "messages per CPU second",
            Self::MemoryAtStart => "memory at start, MB",
            Self::MemoryAfter => "memory after the runs, MB",
        }
    }

    /// For programs.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::MemoryPerSome => "memory_per_stream_kib_2000",
            Self::MemoryPerMany => "memory_per_stream_kib_9500",
            Self::LoginsPerSecond => "logins_per_second",
            Self::CpuPerLogin => "cpu_us_per_login",
            Self::MessagesPerSecond => "messages_per_second",
            Self::MessagesPerCpu => "messages_per_cpu_second",
            Self::MemoryAtStart => "memory_at_start_mb",
            Self::MemoryAfter => "memory_after_mb",
        }
    }

    pub(crate) const fn is_more_better(self) -> bool {
        matches!(
            self,
            Self::LoginsPerSecond | Self::MessagesPerSecond | Self::MessagesPerCpu
        )
    }

    /// What the ratio to the better peer must be: at least where more is better, else at most.
    pub(crate) const fn goal(self) -> Option<f64> {
        match self {
            Self::MemoryPerSome | Self::MemoryPerMany => Some(0.3),
            Self::LoginsPerSecond | Self::MessagesPerCpu => Some(1.0),
            Self::CpuPerLogin
            | Self::MessagesPerSecond
            | Self::MemoryAtStart
            | Self::MemoryAfter => None,
        }
    }

    /// Digits after the point.
    pub(crate) const fn digits(self) -> usize {
        match self {
            Self::MemoryPerSome | Self::MemoryPerMany | Self::MemoryAtStart | Self::MemoryAfter => {
                1
            }
            Self::LoginsPerSecond
            | Self::CpuPerLogin
            | Self::MessagesPerSecond
            | Self::MessagesPerCpu => 0,
        }
    }
}

/// Several values of one figure: least, median, most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (lower, upper) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
        Some(Self {
            min: *sorted.first()?,
            median: f64::midpoint(*sorted.get(lower)?, *sorted.get(upper)?),
            max: *sorted.last()?,
        })
    }
}
