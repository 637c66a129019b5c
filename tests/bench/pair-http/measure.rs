//! The rounds: every chain in turn, each round in another order, and what each run cost.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use support::bench::figure::Figure;
use support::bench::meter::{Meter, Used};
use support::bench::results::{Contender, Results, Turn, turns};
use support::bench::usage;

use crate::arguments::{Arguments, Metric, Sizes};
use crate::figure;
use crate::load::{self, connections};
use crate::stage::Stage;

pub(crate) fn run(stage: &Stage, arguments: &Arguments) -> Result<Results> {
    let count = stage.chains.len();
    let contenders = stage.chains.iter().map(|chain| Contender {
        label: chain.name.label(),
        is_peer: chain.name.is_peer(),
    });
    let agreed = (0..count).map(|index| connections::Client::new(stage, index)?.agreed());
    let mut results = Results::new(
        figure::COMPARISON,
        contenders.collect(),
        agreed.collect::<Result<_>>()?,
        &arguments.rounds,
    );
    memory(&mut results, stage, figure::MEMORY_AT_START)?;
    let sizes = arguments.sizes();
    let selection = &arguments.selection;
    if selection.measures(&Metric::Idle) {
        for index in 0..count {
            let kib = idle(stage, index, sizes)?;
            results.add(figure::MEMORY_PER_IDLE, index, kib);
        }
    }
    for index in 0..count {
        load::requests(stage, index, WARM_UP)?;
    }
    let mut kinds = vec![
        Metric::Requests,
        Metric::Stream,
        Metric::Streams,
        Metric::Connections,
    ];
    kinds.retain(|kind| selection.measures(kind));
    for turn in turns(arguments.rounds.count(), &kinds, count) {
        let (used, figures) = one(stage, turn, sizes)?;
        results.record(&turn, used, &figures)?;
    }
    memory(&mut results, stage, figure::MEMORY_AFTER)?;
    Ok(results)
}

fn one(stage: &Stage, turn: Turn<Metric>, sizes: Sizes) -> Result<(Used, Vec<(Figure, f64)>)> {
    let index = turn.chain;
    let chain = stage.chains.get(index).context("no such chain")?;
    let meter = Meter::start(sizes.calm, chain.pids(), stage.origin.pids())?;
    match turn.metric {
        Metric::Requests => {
            let seen = load::requests(stage, index, sizes.requests)?;
            let used = meter.stop()?;
            let figures = vec![
                (figure::REQUESTS_PER_SECOND, seen.per_second()),
                (figure::P50, seen.p50_ms()),
                (figure::P99, seen.p99_ms()),
                (figure::CPU_PER_REQUEST, used.cpu * 1e6 / seen.requests),
            ];
            Ok((used, figures))
        }
        Metric::Stream | Metric::Streams => {
            let (file, streams, rate, per_gb) = if turn.metric == Metric::Stream {
                ("one", 1, figure::STREAM_RATE, figure::STREAM_CPU)
            } else {
                ("each", STREAMS, figure::STREAMS_RATE, figure::STREAMS_CPU)
            };
            let (bytes, took) = load::downloads(stage, index, file, streams)?;
            let used = meter.stop()?;
            let figures = vec![
                (rate, bytes as f64 / 1e6 / took.as_secs_f64()),
                (per_gb, used.cpu * 1e9 / bytes as f64),
            ];
            Ok((used, figures))
        }
        Metric::Connections => {
            let client = connections::Client::new(stage, index)?;
            let (served, took) = client.open_for(sizes.connections)?;
            let used = meter.stop()?;
            let (served, took) = (served as f64, took.as_secs_f64());
            let figures = vec![
                (figure::CONNECTIONS_PER_SECOND, served / took),
                (figure::CPU_PER_CONNECTION, used.cpu * 1e6 / served),
            ];
            Ok((used, figures))
        }
        Metric::Idle => Ok((meter.stop()?, Vec::new())),
    }
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

fn memory(results: &mut Results, stage: &Stage, figure: Figure) -> Result<()> {
    for (index, chain) in stage.chains.iter().enumerate() {
        results.add(figure, index, usage::memory(&chain.pids())? as f64 / 1e6);
    }
    Ok(())
}

const STREAMS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_millis(500);
