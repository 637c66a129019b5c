//! The rounds: every chain in turn, each round in another order, and what each run cost.

use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use support::bench::figure::Figure;
use support::bench::meter::{Meter, Used};
use support::bench::results::{Contender, Results, Turn, turns};
use support::bench::usage;

use crate::arguments::{Arguments, Metric, Sizes};
use crate::figure;
use crate::load::Stream;
use crate::stage::Stage;

pub(crate) fn run(stage: &Stage, arguments: &Arguments) -> Result<Results> {
    let count = stage.chains.len();
    let contenders = stage.chains.iter().map(|chain| Contender {
        label: chain.name.label(),
        is_peer: chain.name.is_peer(),
    });
    let agreed = |index| stage.runtime.block_on(stage.target(index)?.agreed());
    let mut results = Results::new(
        figure::COMPARISON,
        contenders.collect(),
        (0..count).map(agreed).collect::<Result<_>>()?,
        &arguments.rounds,
    );
    let sizes = arguments.sizes();
    // Everybody has done everything once: what is measured afterwards is what a further stream costs.
    for index in 0..count {
        let target = stage.target(index)?;
        target.logins(&stage.runtime, sizes.workers, WARM_UP)?;
    }
    memory(&mut results, stage, figure::MEMORY_AT_START)?;
    let selection = &arguments.selection;
    if selection.measures(&Metric::Idle) {
        for index in 0..count {
            idle(&mut results, stage, index, sizes)?;
        }
    }
    let mut kinds = vec![Metric::Logins, Metric::Messages];
    kinds.retain(|kind| selection.measures(kind));
    for turn in turns(arguments.rounds.count(), &kinds, count) {
        let (used, figures) = one(stage, turn, sizes)?;
        results.record(&turn, used, &figures)?;
    }
    memory(&mut results, stage, figure::MEMORY_AFTER)?;
    Ok(results)
}

fn one(stage: &Stage, turn: Turn<Metric>, sizes: Sizes) -> Result<(Used, [(Figure, f64); 2])> {
    let chain = stage.chains.get(turn.chain).context("no such chain")?;
    let target = stage.target(turn.chain)?;
    let talkers = match turn.metric {
        Metric::Messages => target.streams(&stage.runtime, sizes.workers)?,
        Metric::Idle | Metric::Logins => Vec::new(),
    };
    let meter = Meter::start(sizes.calm, chain.pids(), vec![stage.node.pid()])?;
    let done = match turn.metric {
        Metric::Messages => Stream::messages(&stage.runtime, talkers, sizes.length)?.1,
        Metric::Idle | Metric::Logins => {
            target.logins(&stage.runtime, sizes.workers, sizes.length)?
        }
    };
    let used = meter.stop()?;
    let count = done.count as f64;
    let rate = count / done.took.as_secs_f64();
    let figures = match turn.metric {
        Metric::Messages => [
            (figure::MESSAGES_PER_SECOND, rate),
            (figure::MESSAGES_PER_CPU, count / used.cpu),
        ],
        Metric::Idle | Metric::Logins => [
            (figure::LOGINS_PER_SECOND, rate),
            (figure::CPU_PER_LOGIN, used.cpu * 1e6 / count),
        ],
    };
    Ok((used, figures))
}

/// What one authenticated stream holds at both edges while it does nothing: some streams, then many.
fn idle(results: &mut Results, stage: &Stage, index: usize, sizes: Sizes) -> Result<()> {
    let chain = stage.chains.get(index).context("no such chain")?;
    let (target, pids) = (stage.target(index)?, chain.pids());
    let before = usage::memory(&pids)?;
    let mut held = Vec::new();
    let figures = [figure::MEMORY_PER_SOME, figure::MEMORY_PER_MANY];
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
        results.add(figure, index, each);
    }
    // All at once, as when a building loses its power; the next chain must not pay for the clean-up.
    drop(held);
    thread::sleep(SETTLE);
    Ok(())
}

fn memory(results: &mut Results, stage: &Stage, figure: Figure) -> Result<()> {
    for (index, chain) in stage.chains.iter().enumerate() {
        results.add(figure, index, usage::memory(&chain.pids())? as f64 / 1e6);
    }
    Ok(())
}

const WARM_UP: Duration = Duration::from_secs(1);
/// Until buffers of what has just happened are given back.
const SETTLE: Duration = Duration::from_secs(3);
