//! The rounds: every chain in turn, each round in another order, and what each run cost.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::arguments::{Arguments, ChainName, Metric, Sizes};
use crate::figure::{Figure, Spread};
use crate::load::{Deed, Phones};
use crate::stage::Stage;
use crate::usage::{self, Machine};

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) chains: Vec<ChainName>,
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
    let mut results = Results {
        chains: stage.chains.iter().map(|chain| chain.name).collect(),
        rounds: arguments.rounds(),
        is_quick: arguments.quick,
        values: BTreeMap::new(),
        runs: Vec::new(),
    };
    let sizes = arguments.sizes();
    // Everybody has done everything once: what is measured afterwards is what a further phone costs.
    let phones: Vec<Phones> = (0..count)
        .map(|index| stage.phones(index, AT_WORK, sizes.phones))
        .collect::<Result<_>>()?;
    for phones in &phones {
        for deed in [Deed::Register, Deed::Call] {
            phones.work(deed, WARM_UP)?;
        }
    }
    results.memory(stage, Figure::MemoryAtStart)?;
    if arguments.measures(Metric::Idle) {
        for index in 0..count {
            let kib = idle(stage, index, sizes)?;
            results.add(Figure::MemoryPerPhone, index, kib);
        }
    }
    for round in 0..results.rounds {
        for metric in [Metric::Registers, Metric::Calls] {
            if !arguments.measures(metric) {
                continue;
            }
            for turn in 0..count {
                let index = (turn + round as usize) % count;
                let phones = phones.get(index).context("no phones")?;
                results.measure(stage, phones, (round, metric, index), sizes)?;
            }
        }
    }
    results.memory(stage, Figure::MemoryAfter)?;
    Ok(results)
}

impl Results {
    pub(crate) fn spread(&self, figure: Figure, index: usize) -> Option<Spread> {
        Spread::of(self.values.get(&(figure, index))?)
    }

    fn measure(
        &mut self,
        stage: &Stage,
        phones: &Phones,
        (round, metric, index): (u32, Metric, usize),
        sizes: Sizes,
    ) -> Result<()> {
        let chain = stage.chains.get(index).context("no such chain")?;
        let busy_before = usage::wait_calm(sizes.calm)?;
        let load_before = usage::load_average()?;
        let (edge, registrar) = (chain.pids()?, stage.registrar.pids()?);
        let machine = Machine::now()?;
        let others =
            || Ok::<_, anyhow::Error>(usage::cpu_seconds(&registrar)? + usage::own_cpu_seconds()?);
        let (before, others_before) = (usage::cpu_seconds(&edge)?, others()?);
        let deed = if metric == Metric::Calls {
            Deed::Call
        } else {
            Deed::Register
        };
        let done = phones.work(deed, sizes.length)?;
        let cpu = usage::cpu_seconds(&edge)? - before;
        let ours = cpu + others()? - others_before;
        let run = Run {
            round,
            metric,
            chain: index,
            load_before,
            busy_before,
            foreign: Machine::now()?.foreign_share(&machine, ours),
        };
        let count = done.deeds as f64;
        let (rate, each) = (count / done.took.as_secs_f64(), cpu * 1e6 / count);
        let figures = match deed {
            Deed::Register => vec![
                (Figure::RegistersPerSecond, rate),
                (Figure::CpuPerRegister, each),
            ],
            Deed::Call => vec![
                (Figure::CallsPerSecond, rate),
                (Figure::CpuPerCall, each),
                (Figure::CpuPerMessage, cpu * 1e6 / done.messages as f64),
            ],
        };
        say(&run, chain.name, &figures)?;
        self.runs.push(run);
        for (figure, value) in figures {
            self.add(figure, index, value);
        }
        Ok(())
    }

    fn memory(&mut self, stage: &Stage, figure: Figure) -> Result<()> {
        for (index, chain) in stage.chains.iter().enumerate() {
            self.add(figure, index, usage::memory(&chain.pids()?)? as f64 / 1e6);
        }
        Ok(())
    }

    fn add(&mut self, figure: Figure, index: usize, value: f64) {
        self.values.entry((figure, index)).or_default().push(value);
    }
}

/// KiB that one registered phone holds at the edge while it does nothing.
fn idle(stage: &Stage, index: usize, sizes: Sizes) -> Result<f64> {
    let chain = stage.chains.get(index).context("no such chain")?;
    let before = usage::memory(&chain.pids()?)?;
    let held = stage.phones(index, IDLE, sizes.idle_phones)?;
    thread::sleep(SETTLE);
    let after = usage::memory(&chain.pids()?)?;
    drop(held);
    Ok(after.saturating_sub(before) as f64 / 1024.0 / sizes.idle_phones as f64)
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

/// Groups of phones.
const AT_WORK: usize = 0;
const IDLE: usize = 1;
const WARM_UP: Duration = Duration::from_secs(1);
/// Until transactions are forgotten that the registrations needed (64 * T1).
const SETTLE: Duration = Duration::from_secs(35);
const DISTURBED_SHARE: f64 = 0.1;
