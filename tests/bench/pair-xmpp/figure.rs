//! The figures of the comparison.

use support::bench::figure::Figure;
use support::bench::results::Comparison;

pub(crate) const COMPARISON: Comparison = Comparison {
    figures: &[
        MEMORY_PER_SOME,
        MEMORY_PER_MANY,
        LOGINS_PER_SECOND,
        CPU_PER_LOGIN,
        MESSAGES_PER_SECOND,
        MESSAGES_PER_CPU,
        MEMORY_AT_START,
        MEMORY_AFTER,
    ],
    peer: "better peer",
    ratio_key: "to_better_peer",
};

pub(crate) const MEMORY_PER_SOME: Figure = Figure::less(
    "KiB per idle stream, 2,000",
    "memory_per_stream_kib_2000",
    1,
)
.goal(0.3);
pub(crate) const MEMORY_PER_MANY: Figure = Figure::less(
    "KiB per idle stream, 10,000",
    "memory_per_stream_kib_10000",
    1,
)
.goal(0.3);
pub(crate) const LOGINS_PER_SECOND: Figure =
    Figure::more("logins/s", "logins_per_second", 0).goal(1.0);
pub(crate) const CPU_PER_LOGIN: Figure = Figure::less("CPU per login, us", "cpu_us_per_login", 0);
pub(crate) const MESSAGES_PER_SECOND: Figure = Figure::more("messages/s", "messages_per_second", 0);
pub(crate) const MESSAGES_PER_CPU: Figure =
    Figure::more("messages per CPU second", "messages_per_cpu_second", 0).goal(1.0);
pub(crate) const MEMORY_AT_START: Figure =
    Figure::less("memory at start, MB", "memory_at_start_mb", 1);
pub(crate) const MEMORY_AFTER: Figure =
    Figure::less("memory after the runs, MB", "memory_after_mb", 1);
