//! The results as a table for people and as JSON for programs.

use anyhow::Result;
use serde_json::json;
use support::bench::figure::Spread;
use support::bench::usage;

use crate::arguments::ChainName;
use crate::figure::Figure;
use crate::measure::Results;

/// Medians, what the pair is of the others, and whether that is what is asked of it.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::new();
    for calls in &results.calls {
        let width = 28;
        let mut line = format!("{:width$}", format!("{calls} calls, {} s", results.seconds));
        for chain in &results.chains {
            line += &format!("{:>16}", chain.label());
        }
        text += line.trim_end();
        text += "\n";
        for figure in Figure::ALL {
            let mut line = format!("{:width$}", figure.label());
            for chain in &results.chains {
                let digits = figure.digits();
                let value = median_of(results, *calls, figure, *chain);
                let cell = value.map_or_else(String::new, |value| format!("{value:.digits$}"));
                line += &format!("{cell:>16}");
            }
            text += line.trim_end();
            text += "\n";
        }
        for goal in goals(results, *calls) {
            text += &format!("{goal}\n");
        }
        text += "\n";
    }
    for run in &results.disturbed {
        text += &format!("disturbed: {run}\n");
    }
    text
}

pub(crate) fn json(results: &Results) -> Result<String> {
    let runs: Vec<_> = results
        .values
        .iter()
        .map(|((calls, figure, chain), values)| {
            json!({
                "calls": calls,
                "figure": figure.key(),
                "chain": chain.key(),
                "values": values,
                "median": median(values),
            })
        })
        .collect();
    let goals: Vec<String> = results
        .calls
        .iter()
        .flat_map(|calls| goals(results, *calls))
        .collect();
    let all = json!({
        "seconds": results.seconds,
        "processors": usage::processors(),
        "runs": runs,
        "goals": goals,
        "disturbed": results.disturbed,
    });
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

fn goals(results: &Results, calls: u16) -> Vec<String> {
    let mut goals = Vec::new();
    for (peer, wanted) in [(ChainName::Rtpengine, 1.5), (ChainName::Chained, 3.0)] {
        if let Some(ratio) = ratio(results, calls, peer) {
            let label = peer.label();
            let verdict = verdict(ratio >= wanted);
            goals.push(format!(
                "packets per CPU second, pair : {label} = {ratio:.2} (goal >= {wanted}) {verdict}"
            ));
        }
    }
    if let Some(p99) = median_of(results, calls, Figure::P99, ChainName::Pair) {
        let verdict = verdict(p99 < 4.0);
        goals.push(format!(
            "added delay p99 = {p99:.2} ms (goal < 4) {verdict}"
        ));
    }
    if let Some(drops) = median_of(results, calls, Figure::KernelDrops, ChainName::Pair) {
        let verdict = verdict(drops == 0.0);
        goals.push(format!(
            "dropped by the kernel = {drops:.0} (goal 0) {verdict}"
        ));
    }
    goals
}

const fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

/// The median of the ratios of each round, as rounds differ more than chains within a round.
fn ratio(results: &Results, calls: u16, peer: ChainName) -> Option<f64> {
    let of = |chain| {
        let key = (calls, Figure::PacketsPerCpuSecond, chain);
        results.values.get(&key)
    };
    let ratios = of(ChainName::Pair)?.iter().zip(of(peer)?);
    let ratios: Vec<f64> = ratios.map(|(own, their)| own / their).collect();
    median(&ratios)
}

fn median_of(results: &Results, calls: u16, figure: Figure, chain: ChainName) -> Option<f64> {
    median(results.values.get(&(calls, figure, chain))?)
}

fn median(values: &[f64]) -> Option<f64> {
    Spread::of(values).map(|spread| spread.median)
}
