//! The figures of the comparison.

use support::bench::figure::Figure;
use support::bench::results::Comparison;

pub(crate) const COMPARISON: Comparison = Comparison {
    figures: &[
        REQUESTS_PER_SECOND,
        P50,
        P99,
        CPU_PER_REQUEST,
        STREAM_RATE,
        STREAM_CPU,
        STREAMS_RATE,
        STREAMS_CPU,
        CONNECTIONS_PER_SECOND,
        CPU_PER_CONNECTION,
        MEMORY_AT_START,
        MEMORY_AFTER,
        MEMORY_PER_IDLE,
    ],
    peer: "better peer",
    ratio_key: "to_better_peer",
};

pub(crate) const REQUESTS_PER_SECOND: Figure =
    Figure::more("requests/s, 64 connections", "requests_per_second", 0).goal(1.1);
pub(crate) const P50: Figure = Figure::less("p50, ms", "p50_ms", 2);
pub(crate) const P99: Figure = Figure::less("p99, ms", "p99_ms", 2).goal(1.0);
pub(crate) const CPU_PER_REQUEST: Figure =
    Figure::less("CPU per request, us", "cpu_us_per_request", 1).goal(0.85);
pub(crate) const STREAM_RATE: Figure = Figure::more("MB/s, 1 stream", "stream_mb_per_second", 0);
pub(crate) const STREAM_CPU: Figure = Figure::less("CPU s/GB, 1 stream", "stream_cpu_s_per_gb", 2);
pub(crate) const STREAMS_RATE: Figure =
    Figure::more("MB/s, 8 streams", "streams_mb_per_second", 0).goal(1.6);
pub(crate) const STREAMS_CPU: Figure =
    Figure::less("CPU s/GB, 8 streams", "streams_cpu_s_per_gb", 2).goal(0.65);
pub(crate) const CONNECTIONS_PER_SECOND: Figure =
    Figure::more("new TLS connections/s", "connections_per_second", 0).goal(1.2);
pub(crate) const CPU_PER_CONNECTION: Figure =
    Figure::less("CPU per connection, us", "cpu_us_per_connection", 0);
pub(crate) const MEMORY_AT_START: Figure =
    Figure::less("memory at start, MB", "memory_at_start_mb", 1);
pub(crate) const MEMORY_AFTER: Figure =
    Figure::less("memory after the runs, MB", "memory_after_mb", 1);
pub(crate) const MEMORY_PER_IDLE: Figure = Figure::less(
    "memory per idle connection, KiB",
    "memory_per_idle_connection_kib",
    1,
);
