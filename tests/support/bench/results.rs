//! Everything that a comparison has measured, chain by chain and round by round.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, Write as _};

use anyhow::Result;

use super::figure::{Figure, Spread};
use super::meter::Used;
use super::options::Rounds;

/// What is compared, in words.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// Rows of the table, in order.
    pub figures: &'static [Figure],
    /// What the pair is compared with.
    pub peer: &'static str,
    /// The ratio to it, for programs.
    pub ratio_key: &'static str,
}

/// A chain that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// As the report calls it.
    pub label: &'static str,
    /// Whether it is what the pair is compared with.
    pub is_peer: bool,
}

/// One load on one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn<M> {
    /// From 0.
    pub round: u32,
    /// What is measured.
    pub metric: M,
    /// Whom it is measured at.
    pub chain: usize,
}

/// Every chain in turn for each metric, each round in another order.
pub fn turns<M: Copy>(rounds: u32, metrics: &[M], chains: usize) -> impl Iterator<Item = Turn<M>> {
    (0..rounds).flat_map(move |round| {
        metrics.iter().flat_map(move |metric| {
            (0..chains).map(move |turn| Turn {
                round,
                metric: *metric,
                chain: (turn + round as usize) % chains,
            })
        })
    })
}

/// Values and runs so far.
#[derive(Debug)]
pub struct Results {
    pub(super) comparison: Comparison,
    pub(super) chains: Vec<Contender>,
    pub(super) agreed: Vec<String>,
    pub(super) rounds: u32,
    pub(super) is_quick: bool,
    pub(super) values: BTreeMap<(&'static str, usize), Vec<f64>>,
    pub(super) runs: Vec<Run>,
}

/// A turn that is over.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) round: u32,
    pub(super) metric: String,
    pub(super) chain: usize,
    pub(super) used: Used,
}

impl Results {
    /// Nothing yet. `agreed` is what clients and each chain agreed to in TLS; empty where nobody asked.
    #[must_use]
    pub const fn new(
        comparison: Comparison,
        chains: Vec<Contender>,
        agreed: Vec<String>,
        rounds: &Rounds,
    ) -> Self {
        Self {
            comparison,
            chains,
            agreed,
            rounds: rounds.count(),
            is_quick: rounds.is_quick(),
            values: BTreeMap::new(),
            runs: Vec::new(),
        }
    }

    /// Adds one value of a figure of a chain.
    pub fn add(&mut self, figure: Figure, chain: usize, value: f64) {
        let values = self.values.entry((figure.key, chain)).or_default();
        values.push(value);
    }

    /// Adds what a turn has shown, and says so on standard error.
    pub fn record<M: Debug>(
        &mut self,
        turn: &Turn<M>,
        used: Used,
        figures: &[(Figure, f64)],
    ) -> Result<()> {
        let run = Run {
            round: turn.round,
            metric: format!("{:?}", turn.metric).to_lowercase(),
            chain: turn.chain,
            used,
        };
        self.say(&run, figures)?;
        self.runs.push(run);
        for (figure, value) in figures {
            self.add(*figure, turn.chain, *value);
        }
        Ok(())
    }

    /// One line for whoever waits.
    fn say(&self, run: &Run, figures: &[(Figure, f64)]) -> Result<()> {
        let figures: Vec<String> = figures
            .iter()
            .map(|(figure, value)| format!("{} {value:.*}", figure.label, figure.digits))
            .collect();
        let note = if run.used.is_disturbed() {
            "  disturbed"
        } else {
            ""
        };
        writeln!(
            io::stderr(),
            "round {} {:<12} {}  [load {:.1}, others {:.0} %]{note}",
            run.round + 1,
            self.chains.get(run.chain).map_or("", |chain| chain.label),
            figures.join(", "),
            run.used.load_before,
            run.used.foreign * 100.0
        )?;
        Ok(())
    }

    pub(super) fn spread(&self, figure: Figure, chain: usize) -> Option<Spread> {
        Spread::of(self.values.get(&(figure.key, chain))?)
    }

    /// How much it is of the better peer (by the medians): the median of the ratios of each round, as rounds differ more
    /// than chains within a round.
    pub(super) fn ratio(&self, figure: Figure, chain: usize) -> Option<f64> {
        let peers = self.chains.iter().enumerate();
        let medians = peers
            .filter(|(_, contender)| contender.is_peer)
            .filter_map(|(peer, _)| Some((peer, self.spread(figure, peer)?.median)));
        let (better, _) = if figure.is_more_better {
            medians.max_by(|(_, a), (_, b)| a.total_cmp(b))
        } else {
            medians.min_by(|(_, a), (_, b)| a.total_cmp(b))
        }?;
        let own = self.values.get(&(figure.key, chain))?;
        let theirs = self.values.get(&(figure.key, better))?;
        let ratios: Vec<f64> = own
            .iter()
            .zip(theirs)
            .map(|(own, their)| own / their)
            .collect();
        Spread::of(&ratios).map(|spread| spread.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_begins_with_another_chain() {
        let order: Vec<_> = turns(2, &['a', 'b'], 3)
            .map(|turn| (turn.round, turn.metric, turn.chain))
            .collect();

        assert_eq!(order.len(), 12);
        assert_eq!(order[..3], [(0, 'a', 0), (0, 'a', 1), (0, 'a', 2)]);
        assert_eq!(order[9..], [(1, 'b', 1), (1, 'b', 2), (1, 'b', 0)]);
    }
}
