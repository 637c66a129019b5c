//! The command line, and how long and how often it means.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use support::bench::options::Rounds;

/// Measures calls through the pair of edges against rtpengine in user space: SRTP outside, RTP inside, G.711, both ways.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-media", bin_name = "tests/bench/media", after_help = NOTES)]
pub(crate) struct Arguments {
    /// Calls at a time; may be given several times [default: 300]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2000))]
    pub(crate) calls: Vec<u16>,
    #[command(flatten)]
    pub(crate) rounds: Rounds,
    /// Leave this chain out; may be given several times
    #[arg(long, value_name = "CHAIN", value_enum)]
    pub(crate) without: Vec<ChainName>,
    /// How long each chain is measured, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: Option<u64>,
    /// Print JSON for programs, with every single value
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum ChainName {
    /// edge-e and edge-c, calls set up by SIP
    Pair,
    /// One rtpengine: what a site without a DMZ would run
    Rtpengine,
    /// Two rtpengines in a row, SRTP between them
    Chained,
}

impl ChainName {
    /// As the report calls it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Rtpengine => "rtpengine",
            Self::Chained => "rtpengine x2",
        }
    }

    /// For programs.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Rtpengine => "rtpengine",
            Self::Chained => "rtpengine_chained",
        }
    }
}

impl Arguments {
    pub(crate) fn calls(&self) -> Vec<u16> {
        if self.calls.is_empty() {
            vec![CALLS_DEFAULT]
        } else {
            self.calls.clone()
        }
    }

    pub(crate) fn duration(&self) -> Duration {
        let default = if self.rounds.is_quick() { 3 } else { 10 };
        Duration::from_secs(self.seconds.unwrap_or(default))
    }

    /// How long a run waits for the machine to be idle before it starts all the same.
    pub(crate) const fn calm(&self) -> Duration {
        Duration::from_secs(if self.rounds.is_quick() { 2 } else { 20 })
    }

    pub(crate) fn chains(&self) -> Vec<ChainName> {
        let all = ChainName::value_variants().iter().copied();
        all.filter(|name| !self.without.contains(name)).collect()
    }
}

const CALLS_DEFAULT: u16 = 300;

const NOTES: &str = "\
Everything runs on this machine, in a network namespace of its own. Every call sends and gets 50 packets a second on both
sides; SRTP is AES_CM_128_HMAC_SHA1_80. CPU is that of all processes of a chain together, as the system accounts it: on
loopback a send pays for the receiver's stack too. Compare columns of one run, never figures of two machines. A run during
which others used the processors is marked; repeat it when the machine is idle.

  tests/bench/media                              the comparison at 300 calls, about 4 minutes
  tests/bench/media --quick --without chained    while you change something
  tests/bench/media --calls 100 --calls 300 --calls 600 --rounds 3";
