//! The figures of the comparison.

use support::bench::figure::Figure;
use support::bench::results::Comparison;

pub(crate) const COMPARISON: Comparison = Comparison {
    figures: &[
        REGISTERS_PER_SECOND,
        CPU_PER_REGISTER,
        CALLS_PER_SECOND,
        CPU_PER_CALL,
        CPU_PER_MESSAGE,
        MEMORY_AT_START,
        MEMORY_AFTER,
        MEMORY_PER_PHONE,
    ],
    peer: "Kamailio",
    ratio_key: "to_peer",
};

pub(crate) const REGISTERS_PER_SECOND: Figure =
    Figure::more("REGISTER/s", "registers_per_second", 0);
pub(crate) const CPU_PER_REGISTER: Figure =
    Figure::less("CPU per REGISTER, us", "cpu_us_per_register", 1).goal(1.0);
pub(crate) const CALLS_PER_SECOND: Figure =
    Figure::more("calls/s, 200 offered", "calls_per_second", 0);
pub(crate) const CPU_PER_CALL: Figure =
    Figure::less("CPU per call, us", "cpu_us_per_call", 0).goal(1.0);
pub(crate) const CPU_PER_MESSAGE: Figure =
    Figure::less("CPU per message of a call, us", "cpu_us_per_message", 1);
pub(crate) const MEMORY_AT_START: Figure =
    Figure::less("memory at start, MB", "memory_at_start_mb", 1);
pub(crate) const MEMORY_AFTER: Figure =
    Figure::less("memory after the runs, MB", "memory_after_mb", 1);
pub(crate) const MEMORY_PER_PHONE: Figure = Figure::less(
    "memory per registered idle phone, KiB",
    "memory_per_phone_kib",
    1,
)
.goal(0.5);
