//! The rounds: every chain in turn, each round in another order, and what each run cost.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::arguments::{Arguments, ChainName, Metric, Sizes};
use crate::figure::Figure;
use crate::load::Stream;
use crate::stage::Stage;
use crate::usage::{self, Machine};

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) chains: Vec<ChainName>,
    /// Cipher suite, by chain.
    pub(crate) agreed: Vec<String>,
    pub(crate) rounds: u32,
    pub(crate) is_quick: bool,
    pub(crate) values: BTreeMap<(Figure, usize), Vec<f64>>,
    pub(crate) runs: Vec<Run>,
}

/// One load on one chain, and what else the machine did.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) round: u32,
    pub(crate) metric: Metric,
    pub(crate) chain: usize,
    /// Load average when it began.
    pub(crate) load_before: f64,
    /// Load average when it was over.
    pub(crate) load_after: f64,
    /// Share of the processors in use just before.
    pub(crate) busy_before: f64,
    /// Share of the processors that others used meanwhile.
    pub(crate) foreign: f64,
}

impl Run {
    /// Whether somebody else had a noticeable part of the machine.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.foreign > DISTURBED_SHARE
    }
}

pub(crate) fn run(stage: &Stage, arguments: &Arguments) -> Result<Results> {
    let count = stage.chains.len();
    let agreed = |index| stage.runtime.block_on(stage.target(index)?.agreed());
    let mut results = Results {
        chains: stage.chains.iter().map(|chain| chain.name).collect(),
        agreed: (0..count).map(agreed).collect::<Result<_>>()?,
        rounds: arguments.rounds(),
        is_quick: arguments.quick,
        values: BTreeMap::new(),
        runs: Vec::new(),
    };
    let sizes = arguments.sizes();
    // Everybody has done everything once: what is measured afterwards is what a further stream costs.
    for index in 0..count {
        let target = stage.target(index)?;
        target.logins(&stage.runtime, sizes.workers, WARM_UP)?;
    }
    results.memory(stage, Figure::MemoryAtStart)?;
    if arguments.measures(Metric::Idle) {
        for index in 0..count {
            results.idle(stage, index, sizes)?;
        }
    }
    for round in 0..results.rounds {
        for metric in [Metric::Logins, Metric::Messages] {
            if !arguments.measures(metric) {
                continue;
            }
            for turn in 0..count {
                let index = (turn + round as usize) % count;
                results.measure(stage, (round, metric, index), sizes)?;
            }
        }
    }
    results.memory(stage, Figure::MemoryAfter)?;
    Ok(results)
}

impl Results {
    fn measure(
        &mut self,
        stage: &Stage,
        (round, metric, index): (u32, Metric, usize),
        sizes: Sizes,
    ) -> Result<()> {
        let chain = stage.chains.get(index).context("no such chain")?;
        let (target, pids) = (stage.target(index)?, chain.pids());
        let talkers = match metric {
            Metric::Messages => target.streams(&stage.runtime, sizes.workers)?,
            Metric::Idle | Metric::Logins => Vec::new(),
        };
        let busy_before = usage::wait_calm(sizes.calm)?;
        let load_before = usage::load_average()?;
        let machine = Machine::now()?;
        let (before, own_before) = (usage::cpu_seconds(&pids)?, usage::own_cpu_seconds()?);
        let done = match metric {
            Metric::Messages => Stream::messages(&stage.runtime, talkers, sizes.length)?.1,
            Metric::Idle | Metric::Logins => {
                target.logins(&stage.runtime, sizes.workers, sizes.length)?
            }
        };
        let cpu = usage::cpu_seconds(&pids)? - before;
        let ours = cpu + usage::own_cpu_seconds()? - own_before;
        let run = Run {
            round,
            metric,
            chain: index,
            load_before,
            load_after: usage::load_average()?,
            busy_before,
            foreign: Machine::now()?.foreign_share(&machine, ours),
        };
        let count = done.count as f64;
        let rate = count / done.took.as_secs_f64();
        let figures = match metric {
            Metric::Messages => [
                (Figure::MessagesPerSecond, rate),
                (Figure::MessagesPerCpu, count / cpu),
            ],
            Metric::Idle | Metric::Logins => [
                (Figure::LoginsPerSecond, rate),
                (Figure::CpuPerLogin, cpu * 1e6 / count),
            ],
        };
        say(&run, chain.name, &figures)?;
        self.runs.push(run);
        for (figure, value) in figures {
            self.add(figure, index, value);
        }
        Ok(())
    }

    /// What one authenticated stream holds at both edges while it does nothing: some streams, then many.
    fn idle(&mut self, stage: &Stage, index: usize, sizes: Sizes) -> Result<()> {
        let chain = stage.chains.get(index).context("no such chain")?;
        let (target, pids) = (stage.target(index)?, chain.pids());
        let before = usage::memory(&pids)?;
        let mut held = Vec::new();
        let figures = [Figure::MemoryPerSome, Figure::MemoryPerMany];
        for (count, figure) in sizes.idle.into_iter().zip(figures) {
            held.extend(target.streams(&stage.runtime, count - held.len())?);
            thread::sleep(SETTLE);
            let more = usage::memory(&pids)?.saturating_sub(before);
            let each = more as f64 / 1024.0 / count as f64;
            writeln!(
                io::stderr(),
                "{:<9} {count} idle streams: {each:.1} KiB each",
                chain.name.label()
            )?;
            self.add(figure, index, each);
        }
        // All at once, as when a building loses its power; the next chain must not pay for the clean-up.
        drop(held);
        thread::sleep(SETTLE);
        Ok(())
    }

    fn memory(&mut self, stage: &Stage, figure: Figure) -> Result<()> {
        for (index, chain) in stage.chains.iter().enumerate() {
            self.add(figure, index, usage::memory(&chain.pids())? as f64 / 1e6);
        }
        Ok(())
    }

    fn add(&mut self, figure: Figure, index: usize, value: f64) {
        self.values.entry((figure, index)).or_default().push(value);
    }
}

/// One line for whoever waits.
fn say(run: &Run, chain: ChainName, figures: &[(Figure, f64)]) -> Result<()> {
    let figures: Vec<String> = figures
        .iter()
        .map(|(figure, value)| format!("{} {value:.*}", figure.label(), figure.digits()))
        .collect();
    let note = if run.is_disturbed() {
        "  disturbed"
    } else {
        ""
    };
    let others = run.foreign * 100.0;
    writeln!(
        io::stderr(),
        "round {} {:<9} {}  [others {others:.0} %]{note}",
        run.round + 1,
        chain.label(),
        figures.join(", "),
    )?;
    Ok(())
}

const WARM_UP: Duration = Duration::from_secs(1);
/// Until buffers of what has just happened are given back.
const SETTLE: Duration = Duration::from_secs(3);
const DISTURBED_SHARE: f64 = 0.1;
