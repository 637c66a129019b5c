//! The figures of the comparison: what they are called, which way is better, and what is asked of them.

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    RegistersPerSecond,
    CpuPerRegister,
    CallsPerSecond,
    CpuPerCall,
    CpuPerMessage,
    MemoryAtStart,
    MemoryAfter,
    MemoryPerPhone,
}

impl Figure {
    pub(crate) const ALL: [Self; 8] = [
        Self::RegistersPerSecond,
        Self::CpuPerRegister,
        Self::CallsPerSecond,
        Self::CpuPerCall,
        Self::CpuPerMessage,
        Self::MemoryAtStart,
        Self::MemoryAfter,
        Self::MemoryPerPhone,
    ];

    /// What it is, with its unit.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::RegistersPerSecond => "REGISTER/s",
            Self::CpuPerRegister => "CPU per REGISTER, us",
            Self::CallsPerSecond => "calls/s, 200 offered",
            Self::CpuPerCall => "CPU per call, us",
            Self::CpuPerMessage => "CPU per message of a call, us",
            Self::MemoryAtStart => "memory at start, MB",
            Self::MemoryAfter => "memory after the runs, MB",
            Self::MemoryPerPhone => "memory per registered idle phone, KiB",
        }
    }

    /// For programs.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::RegistersPerSecond => "registers_per_second",
            Self::CpuPerRegister => "cpu_us_per_register",
            Self::CallsPerSecond => "calls_per_second",
            Self::CpuPerCall => "cpu_us_per_call",
            Self::CpuPerMessage => "cpu_us_per_message",
            Self::MemoryAtStart => "memory_at_start_mb",
            Self::MemoryAfter => "memory_after_mb",
            Self::MemoryPerPhone => "memory_per_phone_kib",
        }
    }

    pub(crate) const fn is_more_better(self) -> bool {
        matches!(self, Self::RegistersPerSecond | Self::CallsPerSecond)
    }

    /// What the ratio to the peer must be: at least where more is better, else at most.
    pub(crate) const fn goal(self) -> Option<f64> {
        match self {
            Self::CpuPerRegister | Self::CpuPerCall => Some(1.0),
            Self::MemoryPerPhone => Some(0.5),
            Self::RegistersPerSecond
            | Self::CallsPerSecond
            | Self::CpuPerMessage
            | Self::MemoryAtStart
            | Self::MemoryAfter => None,
        }
    }

    /// Digits after the point.
    pub(crate) const fn digits(self) -> usize {
        match self {
            Self::RegistersPerSecond | Self::CallsPerSecond | Self::CpuPerCall => 0,
            Self::CpuPerRegister
            | Self::CpuPerMessage
            | Self::MemoryAtStart
            | Self::MemoryAfter
            | Self::MemoryPerPhone => 1,
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
