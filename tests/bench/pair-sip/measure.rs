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
use crate::load::{Deed, Phones};
use crate::stage::Stage;

pub(crate) fn run(stage: &mut Stage, arguments: &Arguments) -> Result<Results> {
    let count = stage.chains.len();
    let contenders = stage.chains.iter().map(|chain| Contender {
        label: chain.name.label(),
        is_peer: chain.name.is_peer(),
    });
    let mut results = Results::new(
        figure::COMPARISON,
        contenders.collect(),
        Vec::new(),
        &arguments.rounds,
    );
    let sizes = arguments.sizes();
    let mut phones = Vec::new();
    for index in 0..count {
        phones.push(again(stage, index, |stage| at_work(stage, index, sizes))?);
    }
    memory(&mut results, stage, figure::MEMORY_AT_START)?;
    let selection = &arguments.selection;
    if selection.measures(&Metric::Idle) {
        for index in 0..count {
            let kib = again(stage, index, |stage| idle(stage, index, sizes))?;
            results.add(figure::MEMORY_PER_PHONE, index, kib);
        }
    }
    let mut kinds = vec![Metric::Registers, Metric::Calls];
    kinds.retain(|kind| selection.measures(kind));
    for turn in turns(arguments.rounds.count(), &kinds, count) {
        let phones = phones.get_mut(turn.chain).context("no phones")?;
        let (used, figures) = again(stage, turn.chain, |stage| {
            // A chain that was started again knows nobody.
            if !phones.are_usable() {
                *phones = at_work(stage, turn.chain, sizes)?;
            }
            one(stage, phones, turn, sizes)
        })?;
        results.record(&turn, used, &figures)?;
    }
    memory(&mut results, stage, figure::MEMORY_AFTER)?;
    Ok(results)
}

/// Does something with a chain. A peer that has ended by itself is started again, a few times.
fn again<T>(
    stage: &mut Stage,
    index: usize,
    mut deed: impl FnMut(&Stage) -> Result<T>,
) -> Result<T> {
    for _ in 0..RESTARTS_MAX {
        let error = match deed(stage) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let chain = stage.chains.get(index);
        if !chain.is_some_and(|chain| chain.name.is_peer()) {
            return Err(error);
        }
        writeln!(
            io::stderr(),
            "the peer has ended and is started again: {error}"
        )?;
        stage.restart(index)?;
    }
    deed(stage)
}

/// Phones that have done everything once: what is measured afterwards is what a further deed costs.
fn at_work(stage: &Stage, index: usize, sizes: Sizes) -> Result<Phones> {
    let phones = stage.phones(index, AT_WORK, sizes.phones)?;
    for deed in [Deed::Register, Deed::Call] {
        phones.work(deed, WARM_UP)?;
    }
    Ok(phones)
}

fn one(
    stage: &Stage,
    phones: &Phones,
    turn: Turn<Metric>,
    sizes: Sizes,
) -> Result<(Used, Vec<(Figure, f64)>)> {
    let chain = stage.chains.get(turn.chain).context("no such chain")?;
    let deed = if turn.metric == Metric::Calls {
        Deed::Call
    } else {
        Deed::Register
    };
    let meter = Meter::start(sizes.calm, chain.pids()?, stage.registrar.pids()?)?;
    let done = phones.work(deed, sizes.length)?;
    let used = meter.stop()?;
    let count = done.deeds as f64;
    let (rate, each) = (count / done.took.as_secs_f64(), used.cpu * 1e6 / count);
    let figures = match deed {
        Deed::Register => vec![
            (figure::REGISTERS_PER_SECOND, rate),
            (figure::CPU_PER_REGISTER, each),
        ],
        Deed::Call => vec![
            (figure::CALLS_PER_SECOND, rate),
            (figure::CPU_PER_CALL, each),
            (
                figure::CPU_PER_MESSAGE,
                used.cpu * 1e6 / done.messages as f64,
            ),
        ],
    };
    Ok((used, figures))
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

fn memory(results: &mut Results, stage: &Stage, figure: Figure) -> Result<()> {
    for (index, chain) in stage.chains.iter().enumerate() {
        results.add(figure, index, usage::memory(&chain.pids()?)? as f64 / 1e6);
    }
    Ok(())
}

/// Groups of phones.
const AT_WORK: usize = 0;
const IDLE: usize = 1;
const WARM_UP: Duration = Duration::from_secs(1);
/// Until transactions are forgotten that the registrations needed (64 * T1).
const SETTLE: Duration = Duration::from_secs(35);
const RESTARTS_MAX: usize = 5;
