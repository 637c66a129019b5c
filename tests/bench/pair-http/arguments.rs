//! The command line, and how long and how often it means.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use support::bench::options::{Rounds, Selection};

/// Measures the pair of edges against an nginx pair and an HAProxy pair: TLS client, edge role, mutual-TLS middle, core
/// role, TLS origin.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-http", bin_name = "tests/bench/http", after_help = NOTES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) rounds: Rounds,
    #[command(flatten)]
    pub(crate) selection: Selection<Metric, ChainName>,
    /// Let the edge-e and edge-c of another build, in this folder, take part too: for a change before and after
    #[arg(long, value_name = "DIR")]
    pub(crate) baseline: Option<PathBuf>,
    /// Print JSON for programs, with every single value
    #[arg(long)]
    pub(crate) json: bool,
    /// Start everything, say on stderr where it is, and wait until standard input ends
    #[arg(long)]
    pub(crate) serve: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Metric {
    /// Memory per idle client connection
    Idle,
    /// 1 KiB answers on 64 keep-alive connections: requests/s, p99, CPU per request
    Requests,
    /// One download: MB/s, CPU per GB
    Stream,
    /// Eight downloads at a time: MB/s, CPU per GB
    Streams,
    /// Full handshake, one request, close: connections/s, CPU per connection
    Connections,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum ChainName {
    /// edge-e and edge-c, `https_transport = "pool"`
    PairPool,
    /// edge-e and edge-c, `https_transport = "h2"`
    PairH2,
    /// nginx -> nginx
    Nginx,
    /// HAProxy -> HAProxy
    Haproxy,
    /// edge-e and edge-c of `--baseline`, `https_transport = "pool"`
    Baseline,
}

impl ChainName {
    /// As the report calls it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::PairPool => "pair (pool)",
            Self::PairH2 => "pair (h2)",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Baseline => "baseline",
        }
    }

    /// Whether it is what the pair is compared with.
    pub(crate) const fn is_peer(self) -> bool {
        matches!(self, Self::Nginx | Self::Haproxy)
    }
}

/// Sizes of one run of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) requests: Duration,
    pub(crate) connections: Duration,
    pub(crate) one_stream_bytes: u64,
    pub(crate) each_stream_bytes: u64,
    pub(crate) idle_connections: usize,
    /// How long a run waits for the machine to be idle before it starts all the same.
    pub(crate) calm: Duration,
}

impl Arguments {
    pub(crate) const fn sizes(&self) -> Sizes {
        if self.rounds.is_quick() {
            return Sizes {
                requests: Duration::from_secs(2),
                connections: Duration::from_secs(1),
                one_stream_bytes: 256 << 20,
                each_stream_bytes: 64 << 20,
                idle_connections: 200,
                calm: Duration::from_secs(2),
            };
        }
        Sizes {
            requests: Duration::from_secs(5),
            connections: Duration::from_secs(4),
            one_stream_bytes: 1 << 30,
            each_stream_bytes: 256 << 20,
            idle_connections: 1000,
            calm: Duration::from_secs(20),
        }
    }

    pub(crate) fn chains(&self) -> Vec<ChainName> {
        let all = self.selection.chains();
        all.filter(|name| *name != ChainName::Baseline || self.baseline.is_some())
            .collect()
    }
}

const NOTES: &str = "\
Everything runs on this machine, in a network namespace of its own; each chain serves the same nginx, with the same
certificates, TLS 1.3 and keep-alive. Compare columns of one run, never figures of two machines. A run during which
others used the processors is marked; repeat it when the machine is idle. CPU is that of the edge and core role together.

  tests/bench/http                              the whole comparison, about 8 minutes
  tests/bench/http --quick --only requests      while you change something
  tests/bench/http --rounds 9 --json >runs.json
  tests/bench/http --baseline /tmp/before       a change against the build before it, in the same run
  tests/bench/http --serve                      to profile a chain under a load of your own";
