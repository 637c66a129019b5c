//! Round by round: each chain is started, lets the same calls speak for the same time, and ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use support::bench::meter::Meter;
use support::bench::usage;

use crate::arguments::{Arguments, ChainName};
use crate::chain::Chain;
use crate::figure::Figure;
use crate::load::{Load, Seen};

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) chains: Vec<ChainName>,
    pub(crate) calls: Vec<u16>,
    /// One value for each round.
    pub(crate) values: BTreeMap<(u16, Figure, ChainName), Vec<f64>>,
    /// Runs during which others used more than a tenth of the processors, or the load did not keep up.
    pub(crate) disturbed: Vec<String>,
    pub(crate) seconds: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Results> {
    let mut results = Results {
        chains: arguments.chains(),
        calls: arguments.calls(),
        values: BTreeMap::new(),
        disturbed: Vec::new(),
        seconds: arguments.duration().as_secs(),
    };
    for round in 0..arguments.rounds.count() {
        for calls in arguments.calls() {
            let mut chains = arguments.chains();
            // Another order each time: what one leaves behind meets another one.
            let count = chains.len().max(1);
            chains.rotate_left(usize::try_from(round)? % count);
            for name in chains {
                measure(arguments, round, calls, name, &mut results)
                    .with_context(|| format!("{} with {calls} calls", name.label()))?;
            }
        }
    }
    Ok(results)
}

fn measure(
    arguments: &Arguments,
    round: u32,
    calls: u16,
    name: ChainName,
    results: &mut Results,
) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("bench-media").tempdir()?;
    let chain = Chain::start(name, calls, dir.path())?;
    let mut load = Load::new(&chain.calls)?;
    // Learned addresses, warm caches; the first seconds of a call are not what it costs.
    let warm = load.run(&chain.calls, WARM_UP)?;
    ensure!(
        warm.received * 2 > warm.sent,
        "{} of {} packets arrived; logs are in {}",
        warm.received,
        warm.sent,
        dir.keep().display()
    );
    let meter = Meter::start(arguments.calm(), chain.pids(), Vec::new())?;
    let drops = kernel_drops()?;
    let seen = load.run(&chain.calls, arguments.duration())?;
    let used = meter.stop()?;
    let drops = kernel_drops()? - drops;
    let run = format!("round {}, {calls} calls, {}", round + 1, name.label());
    if used.is_disturbed() || used.was_busy() {
        results.disturbed.push(format!(
            "{run}: {:.0} % used by others",
            used.foreign * 100.0
        ));
    }
    if seen.late * 100 > seen.sent {
        results
            .disturbed
            .push(format!("{run}: {} packets sent late", seen.late));
    }
    let memory = usage::memory(&chain.pids())?;
    let figures = figures(
        &seen,
        used.cpu,
        drops,
        memory,
        arguments.duration().as_secs_f64(),
    );
    let shown = |figure| figures.get(&figure).copied().unwrap_or_default();
    let mut progress = std::io::stderr().lock();
    writeln!(
        progress,
        "{run}: {:.2} us per packet, p99 {:.2} ms, {} of {} arrived, load {:.0} %",
        shown(Figure::CpuPerPacket),
        shown(Figure::P99),
        seen.received,
        seen.sent,
        used.own * 100.0 / arguments.duration().as_secs_f64()
    )?;
    for (figure, value) in figures {
        let values = results.values.entry((calls, figure, name)).or_default();
        values.push(value);
    }
    Ok(())
}

fn figures(seen: &Seen, cpu: f64, drops: u64, memory: u64, seconds: f64) -> BTreeMap<Figure, f64> {
    let received = seen.received.max(1) as f64;
    let lost = seen.sent.saturating_sub(seen.received) as f64;
    let delay = |share: usize| {
        let at = seen.delays.len() * share / 100;
        seen.delays
            .get(at)
            .map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    };
    BTreeMap::from([
        (Figure::PacketsPerCpuSecond, received / cpu.max(0.01)),
        (Figure::CpuPerPacket, cpu * 1e6 / received),
        (Figure::CpuShare, cpu * 100.0 / seconds),
        (Figure::P50, delay(50)),
        (Figure::P99, delay(99)),
        (Figure::Lost, lost * 1e6 / seen.sent.max(1) as f64),
        (Figure::KernelDrops, drops as f64),
        (Figure::Memory, memory as f64 / 1e6),
    ])
}

/// Datagrams that found a full buffer, in this namespace.
fn kernel_drops() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/snmp")?;
    let mut lines = text.lines().filter(|line| line.starts_with("Udp: "));
    let (names, values) = (lines.next(), lines.next());
    let names = names.context("no UDP in /proc/net/snmp")?.split(' ');
    let values = values.context("no UDP in /proc/net/snmp")?.split(' ');
    let drops = names.zip(values).find(|(name, _)| *name == "RcvbufErrors");
    Ok(drops.context("no RcvbufErrors")?.1.parse()?)
}

const WARM_UP: std::time::Duration = std::time::Duration::from_secs(2);
