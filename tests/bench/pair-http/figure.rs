//! The figures of the comparison: what they are called, which way is better, and what is asked of them.

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    RequestsPerSecond,
    P50,
    P99,
    CpuPerRequest,
    StreamRate,
    StreamCpu,
    StreamsRate,
    StreamsCpu,
    ConnectionsPerSecond,
    CpuPerConnection,
    MemoryAtStart,
    MemoryAfter,
    MemoryPerIdle,
}

impl Figure {
    pub(crate) const ALL: [Self; 13] = [
        Self::RequestsPerSecond,
        Self::P50,
        Self::P99,
        Self::CpuPerRequest,
        Self::StreamRate,
        Self::StreamCpu,
        Self::StreamsRate,
        Self::StreamsCpu,
        Self::ConnectionsPerSecond,
        Self::CpuPerConnection,
        Self::MemoryAtStart,
        Self::MemoryAfter,
        Self::MemoryPerIdle,
    ];

    /// What it is, with its unit.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests/s, 64 connections",
            Self::P50 => "p50, ms",
            Self::P99 => "p99, ms",
            Self::CpuPerRequest => "CPU per request, us",
            Self::StreamRate => "MB/s, 1 stream",
            Self::StreamCpu => "CPU s/GB, 1 stream",
            Self::StreamsRate => "MB/s, 8 streams",
            Self::StreamsCpu => "CPU s/GB, 8 streams",
            Self::ConnectionsPerSecond => "new TLS connections/s",
            Self::CpuPerConnection => "CPU per connection, us",
            Self::MemoryAtStart => "memory at start, MB",
            Self::MemoryAfter => "memory after the runs, MB",
            Self::MemoryPerIdle => "memory per idle connection, KiB",
        }
    }

    /// For programs.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::P50 => "p50_ms",
            Self::P99 => "p99_ms",
            Self::CpuPerRequest => "cpu_us_per_request",
            Self::StreamRate => "stream_mb_per_second",
            Self::StreamCpu => "stream_cpu_s_per_gb",
            Self::StreamsRate => "streams_mb_per_second",
            Self::StreamsCpu => "streams_cpu_s_per_gb",
            Self::ConnectionsPerSecond => "connections_per_second",
            Self::CpuPerConnection => "cpu_us_per_connection",
            Self::MemoryAtStart => "memory_at_start_mb",
            Self::MemoryAfter => "memory_after_mb",
            Self::MemoryPerIdle => "memory_per_idle_connection_kib",
        }
    }

    pub(crate) const fn is_more_better(self) -> bool {
        matches!(
            self,
            Self::RequestsPerSecond
                | Self::StreamRate
                | Self::StreamsRate
                | Self::ConnectionsPerSecond
        )
    }

    /// What the ratio to the better peer must be: at least where more is better, else at most.
    pub(crate) const fn goal(self) -> Option<f64> {
        match self {
            Self::RequestsPerSecond => Some(1.1),
            Self::P99 => Some(1.0),
            Self::CpuPerRequest => Some(0.85),
            Self::StreamsRate => Some(1.6),
            Self::StreamsCpu => Some(0.65),
            Self::ConnectionsPerSecond => Some(1.2),
            Self::P50
            | Self::StreamRate
            | Self::StreamCpu
            | Self::CpuPerConnection
            | Self::MemoryAtStart
            | Self::MemoryAfter
            | Self::MemoryPerIdle => None,
        }
    }

    /// Digits after the point.
    pub(crate) const fn digits(self) -> usize {
        match self {
            Self::RequestsPerSecond
            | Self::StreamRate
            | Self::StreamsRate
            | Self::ConnectionsPerSecond
            | Self::CpuPerConnection => 0,
            Self::CpuPerRequest | Self::MemoryAtStart | Self::MemoryAfter | Self::MemoryPerIdle => {
                1
            }
            Self::P50 | Self::P99 | Self::StreamCpu | Self::StreamsCpu => 2,
        }
    }
}

/// Several values of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let median = if sorted.len() % 2 == 1 {
            upper
        } else {
            f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, upper)
        };
        Some(Self {
            median,
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        let odd = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
        let even = Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();

        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!((even.median, even.min, even.max), (2.5, 1.0, 4.0));
        assert_eq!(Spread::of(&[]), None);
    }
}
