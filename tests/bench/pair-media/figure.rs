//! The figures of the comparison: what they are called.

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    PacketsPerCpuSecond,
    CpuPerPacket,
    CpuShare,
    P50,
    P99,
    Lost,
    KernelDrops,
    Memory,
}

impl Figure {
    pub(crate) const ALL: [Self; 8] = [
        Self::PacketsPerCpuSecond,
        Self::CpuPerPacket,
        Self::CpuShare,
        Self::P50,
        Self::P99,
        Self::Lost,
        Self::KernelDrops,
        Self::Memory,
    ];

    /// What it is, with its unit.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::PacketsPerCpuSecond => "packets per CPU second",
            Self::CpuPerPacket => "CPU per packet, us",
            Self::CpuShare => "CPU, % of one processor",
            Self::P50 => "added delay p50, ms",
            Self::P99 => "added delay p99, ms",
            Self::Lost => "packets lost, per million",
            Self::KernelDrops => "dropped by the kernel",
            Self::Memory => "memory, MB",
        }
    }

    /// For programs.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::PacketsPerCpuSecond => "packets_per_cpu_second",
            Self::CpuPerPacket => "cpu_us_per_packet",
            Self::CpuShare => "cpu_percent",
            Self::P50 => "delay_p50_ms",
            Self::P99 => "delay_p99_ms",
            Self::Lost => "lost_per_million",
            Self::KernelDrops => "kernel_drops",
            Self::Memory => "memory_mb",
        }
    }

    /// Digits behind the point.
    pub(crate) const fn digits(self) -> usize {
        match self {
            Self::PacketsPerCpuSecond | Self::KernelDrops | Self::Lost => 0,
            Self::CpuShare | Self::Memory => 1,
            Self::CpuPerPacket | Self::P50 | Self::P99 => 2,
        }
    }
}
