//! The rounds: every chain in turn, each round in another order, and what each run cost.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::arguments::{Arguments, ChainName, Metric, Sizes};
use crate::chain::Chain;
use crate::figure::Figure;
use crate::load::{self, connections};
use crate::stage::Stage;
use crate::usage::{self, Machine};

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) chains: Vec<ChainName>,
    /// Cipher suite and key exchange, by chain.
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

/// What a run did, in its own unit.
struct Done {
    cpu: f64,
    figures: Vec<(Figure, f64)>,
}

pub(crate) fn run(stage: &Stage, arguments: &Arguments) -> Result<Results> {
    let count = stage.chains.len();
    let mut results = Results {
        chains: stage.chains.iter().map(|chain| chain.name).collect(),
        agreed: (0..count)
            .map(|index| connections::Client::new(stage, index)?.agreed())
            .collect::<Result<_>>()?,
        rounds: arguments.rounds(),
        is_quick: arguments.quick,
        values: BTreeMap::new(),
        runs: Vec::new(),
    };
    results.memory(stage, Figure::MemoryAtStart)?;
    let sizes = arguments.sizes();
    if arguments.measures(Metric::Idle) {
        for index in 0..count {
            let kib = idle(stage, index, sizes)?;
            results.add(Figure::MemoryPerIdle, index, kib);
        }
    }
    for index in 0..count {
        load::requests(stage, index, WARM_UP)?;
    }
    let kinds = [
        Metric::Requests,
        Metric::Stream,
        Metric::Streams,
        Metric::Connections,
    ];
    for round in 0..results.rounds {
        for metric in kinds.into_iter().filter(|kind| arguments.measures(*kind)) {
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
        let busy_before = usage::wait_calm(sizes.calm)?;
        let load_before = usage::load_average()?;
        let (machine, origin, own) = (
            Machine::now()?,
            usage::cpu_seconds(&stage.origin.pids())?,
            usage::own_cpu_seconds()?,
        );
        let done = one(stage, chain, (metric, index), sizes)?;
        let origin = usage::cpu_seconds(&stage.origin.pids())? - origin;
        let ours = done.cpu + origin + usage::own_cpu_seconds()? - own;
        let run = Run {
            round,
            metric,
            chain: index,
            load_before,
            load_after: usage::load_average()?,
            busy_before,
            foreign: Machine::now()?.foreign_share(&machine, ours),
        };
        say(&run, chain.name, &done)?;
        self.runs.push(run);
        for (figure, value) in done.figures {
            self.add(figure, index, value);
        }
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

fn one(
    stage: &Stage,
    chain: &Chain,
    (metric, index): (Metric, usize),
    sizes: Sizes,
) -> Result<Done> {
    let pids = chain.pids();
    let before = usage::cpu_seconds(&pids)?;
    let used = || Ok::<_, anyhow::Error>(usage::cpu_seconds(&pids)? - before);
    let (cpu, figures) = match metric {
        Metric::Requests => {
            let seen = load::requests(stage, index, sizes.requests)?;
            let cpu = used()?;
            let figures = vec![
                (Figure::RequestsPerSecond, seen.per_second()),
                (Figure::P50, seen.p50_ms()),
                (Figure::P99, seen.p99_ms()),
                (Figure::CpuPerRequest, cpu * 1e6 / seen.requests),
            ];
            (cpu, figures)
        }
        Metric::Stream | Metric::Streams => {
            let (file, streams, rate, per_gb) = if metric == Metric::Stream {
                ("one", 1, Figure::StreamRate, Figure::StreamCpu)
            } else {
                ("each", STREAMS, Figure::StreamsRate, Figure::StreamsCpu)
            };
            let (bytes, took) = load::downloads(stage, index, file, streams)?;
            let cpu = used()?;
            let figures = vec![
                (rate, bytes as f64 / 1e6 / took.as_secs_f64()),
                (per_gb, cpu * 1e9 / bytes as f64),
            ];
            (cpu, figures)
        }
        Metric::Connections => {
            let client = connections::Client::new(stage, index)?;
            let (served, took) = client.open_for(sizes.connections)?;
            let cpu = used()?;
            let figures = vec![
                (
                    Figure::ConnectionsPerSecond,
                    served as f64 / took.as_secs_f64(),
                ),
                (Figure::CpuPerConnection, cpu * 1e6 / served as f64),
            ];
            (cpu, figures)
        }
        Metric::Idle => (0.0, Vec::new()),
    };
    Ok(Done { cpu, figures })
}

/// KiB that one idle client connection holds in both roles, after it has had one answer.
fn idle(stage: &Stage, index: usize, sizes: Sizes) -> Result<f64> {
    let chain = stage.chains.get(index).context("no such chain")?;
    let client = connections::Client::new(stage, index)?;
    let before = usage::memory(&chain.pids())?;
    let held = client.hold(sizes.idle_connections)?;
    thread::sleep(SETTLE);
    let after = usage::memory(&chain.pids())?;
    let bytes = after.saturating_sub(before) as f64;
    Ok(bytes / 1024.0 / held.len() as f64)
}

/// One line for whoever waits.
fn say(run: &Run, chain: ChainName, done: &Done) -> Result<()> {
    let figures: Vec<String> = done
        .figures
        .iter()
        .map(|(figure, value)| format!("{} {value:.*}", figure.label(), figure.digits()))
        .collect();
    let note = if run.is_disturbed() {
        "  disturbed"
    } else {
        ""
    };
    writeln!(
        io::stderr(),
        "round {} {:<12} {}  [load {:.1}, others {:.0} %]{note}",
        run.round + 1,
        chain.label(),
        figures.join(", "),
        run.load_before,
        run.foreign * 100.0
    )?;
    Ok(())
}

const STREAMS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_millis(500);
const DISTURBED_SHARE: f64 = 0.1;
