//! Options that several comparisons have.

use clap::{Args, ValueEnum};

/// How often everything is measured.
#[derive(Clone, Debug, Args)]
pub struct Rounds {
    /// Rounds; each measures every chain once, in another order
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// One round, short: for development, not for the record
    #[arg(long)]
    quick: bool,
}

impl Rounds {
    /// How many rounds that means.
    #[must_use]
    pub const fn count(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    /// Whether they are short.
    #[must_use]
    pub const fn is_quick(&self) -> bool {
        self.quick
    }
}

/// What is measured, and who takes part: everything and everybody but for these options.
#[derive(Clone, Debug, Args)]
pub struct Selection<M, C>
where
    M: ValueEnum + Send + Sync + 'static,
    C: ValueEnum + Send + Sync + 'static,
{
    /// Measure this alone; may be given several times
    #[arg(long, value_name = "METRIC", value_enum)]
    only: Vec<M>,
    /// Leave this chain out; may be given several times
    #[arg(long, value_name = "CHAIN", value_enum)]
    without: Vec<C>,
}

impl<M, C> Selection<M, C>
where
    M: ValueEnum + PartialEq + Send + Sync + 'static,
    C: ValueEnum + PartialEq + Send + Sync + 'static,
{
    /// Whether this is measured.
    pub fn measures(&self, metric: &M) -> bool {
        self.only.is_empty() || self.only.contains(metric)
    }

    /// Who takes part, in the order of their declaration.
    pub fn chains(&self) -> impl Iterator<Item = C> {
        let all = C::value_variants().iter();
        all.filter(|name| !self.without.contains(name)).cloned()
    }
}
