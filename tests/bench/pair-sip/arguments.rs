//! The command line, and how long and how often it means.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use support::bench::options::{Rounds, Selection};

/// Measures the pair of edges against a Kamailio edge: phones over TLS, one SIP hop, a Kamailio registrar over TCP.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-sip", bin_name = "tests/bench/sip", after_help = NOTES)]
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
    /// Memory per registered phone that does nothing
    Idle,
    /// Phones that register anew: REGISTER/s, CPU per REGISTER
    Registers,
    /// Phones that call a phone inside at a fixed pace, without media: CPU per call and per message
    Calls,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum ChainName {
    /// edge-e and edge-c
    Pair,
    /// One Kamailio with TLS, Path and flow tokens
    Kamailio,
    /// edge-e and edge-c of `--baseline`
    Baseline,
}

impl ChainName {
    /// As the report calls it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Kamailio => "Kamailio",
            Self::Baseline => "baseline",
        }
    }

    /// Whether it is what the pair is compared with.
    pub(crate) const fn is_peer(self) -> bool {
        matches!(self, Self::Kamailio)
    }
}

/// Sizes of one run of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// How long registers and calls go on.
    pub(crate) length: Duration,
    /// Phones that register and call in turn: none of them has more transactions open than a phone may have.
    pub(crate) phones: usize,
    /// Phones that are there and do nothing.
    pub(crate) idle_phones: usize,
    /// How long a run waits for the machine to be idle before it starts all the same.
    pub(crate) calm: Duration,
}

impl Arguments {
    pub(crate) const fn sizes(&self) -> Sizes {
        if self.rounds.is_quick() {
            return Sizes {
                length: Duration::from_secs(2),
                phones: 256,
                idle_phones: 200,
                calm: Duration::from_secs(2),
            };
        }
        Sizes {
            length: Duration::from_secs(5),
            phones: 1024,
            idle_phones: 2000,
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
Everything runs on this machine, in a network namespace of its own, with one registrar and the same certificate for all.
Phones keep their connection and answer challenges in advance, so that each REGISTER is one request and one answer. A call
is INVITE, 180, 200, ACK, BYE, 200; media is offered and answered, and none is sent: tests/bench/media measures that. The
pair reserves ports and makes keys for each call, the Kamailio edge leaves media alone. REGISTER comes as fast as it is
answered, calls at a fixed pace. The Kamailio edge has one worker: with more, Debian's ends by itself under load. CPU is
that of edge-e and edge-c together, and of all processes of the Kamailio edge. Compare columns of one run, never figures of
two machines.

  tests/bench/sip                              the whole comparison, about 4 minutes
  tests/bench/sip --quick --only registers     while you change something
  tests/bench/sip --rounds 9 --json >runs.json
  tests/bench/sip --baseline /tmp/before       a change against the build before it, in the same run";
