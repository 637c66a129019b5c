//! The command line, and how long and how often it means.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use support::bench::options::{Rounds, Selection};

/// Measures XMPP through the pair of edges against an HAProxy pair and an nginx pair: clients over TLS, TLS between, TLS to
/// the node.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-xmpp", bin_name = "tests/bench/xmpp", after_help = NOTES)]
#[command(mut_arg("rounds", |arg| arg.default_value("3")))]
#[command(mut_arg("quick", |arg| arg.help("One round, short, with fewer streams: for development, not for the record")))]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) rounds: Rounds,
    #[command(flatten)]
    pub(crate) selection: Selection<Metric, ChainName>,
    /// Print JSON for programs, with every single value
    #[arg(long)]
    pub(crate) json: bool,
    /// Be the node, with the certificate in this folder: the program starts itself so
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) node: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Metric {
    /// Memory per authenticated stream that does nothing, at 2,000 and at 10,000
    Idle,
    /// Clients that connect, sign in, bind a resource and leave: logins/s, CPU per login
    Logins,
    /// Clients that send messages to themselves: messages/s, messages per CPU second
    Messages,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum ChainName {
    /// edge-e and edge-c
    Pair,
    /// nginx in both roles, module stream
    Nginx,
    /// HAProxy in both roles, mode tcp
    Haproxy,
}

impl ChainName {
    /// As the report calls it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
        }
    }

    /// Whether it is what the pair is compared with.
    pub(crate) const fn is_peer(self) -> bool {
        !matches!(self, Self::Pair)
    }
}

/// Sizes of one run of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// How long logins and messages go on.
    pub(crate) length: Duration,
    /// Clients that work at the same time.
    pub(crate) workers: usize,
    /// Streams that are there and do nothing: some, then many.
    pub(crate) idle: [usize; 2],
    /// How long a run waits for the machine to be idle before it starts all the same.
    pub(crate) calm: Duration,
}

impl Arguments {
    pub(crate) const fn sizes(&self) -> Sizes {
        if self.rounds.is_quick() {
            return Sizes {
                length: Duration::from_secs(2),
                workers: 32,
                idle: [100, 500],
                calm: Duration::from_secs(2),
            };
        }
        Sizes {
            length: Duration::from_secs(5),
            workers: 32,
            idle: [2_000, 10_000],
            calm: Duration::from_secs(10),
        }
    }
}

const NOTES: &str = "\
Everything runs on this machine, in a network namespace of its own. The node behind all chains is a small responder, the
measuring program once more: real servers would be slower than what is measured. HAProxy has two processes of one thread in
each role, as each stream takes two descriptors of 20,000 there, and nginx two workers. Clients use TLS from the first byte, as the
peers can't speak before it, sign in with PLAIN, and never resume TLS sessions. The peers relay bytes without a look at
them; the pair reads each stream until it is authenticated, and shares the connections between its two edges. CPU and memory
are those of both edges together. Compare columns of one run, never figures of two machines.

  tests/bench/xmpp                             the whole comparison, about 4 minutes
  tests/bench/xmpp --quick --only messages     while you change something
  tests/bench/xmpp --rounds 9 --json >runs.json";
