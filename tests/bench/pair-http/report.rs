//! What was measured, as a table for people or JSON for programs, with ratios against the better peer.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::arguments::ChainName;
use crate::figure::{Figure, Spread};
use crate::measure::{Results, Run};
use crate::usage;

/// A table in Markdown, so that it can stand in the README as it is.
pub(crate) fn table(results: &Results) -> String {
    let mut text = conditions(results);
    let names = results.chains.iter().map(|name| name.label());
    let pairs = pairs(results);
    let ratios = pairs
        .iter()
        .map(|(_, name)| format!("{} : better peer", name.label()));
    let heads: Vec<String> = names.map(str::to_owned).chain(ratios).collect();
    row(&mut text, "", &heads, "goal");
    row(
        &mut text,
        "---",
        &vec!["---".to_owned(); heads.len()],
        "---",
    );
    for figure in Figure::ALL {
        let spreads: Vec<Option<Spread>> = (0..results.chains.len())
            .map(|index| spread(results, figure, index))
            .collect();
        if spreads.iter().all(Option::is_none) {
            continue;
        }
        let cells = spreads.iter().map(|spread| cell(figure, *spread));
        let ratios = pairs
            .iter()
            .map(|(index, _)| verdict(figure, ratio(results, figure, *index)));
        let cells: Vec<String> = cells.chain(ratios).collect();
        row(&mut text, figure.label(), &cells, &goal(figure));
    }
    text
}

/// Every value, and how the machine was meanwhile.
pub(crate) fn json(results: &Results) -> Result<String> {
    let mut figures = Map::new();
    for figure in Figure::ALL {
        let mut chains = Map::new();
        for (index, name) in results.chains.iter().enumerate() {
            let Some(values) = results.values.get(&(figure, index)) else {
                continue;
            };
            let spread = Spread::of(values).map(|s| json!([s.min, s.median, s.max]));
            chains.insert(
                name.label().to_owned(),
                json!({
                    "min_median_max": spread,
                    "values": values,
                    "to_better_peer": ratio(results, figure, index).filter(|_| !name.is_peer()),
                }),
            );
        }
        let entry = json!({
            "label": figure.label(), "goal": figure.goal(), "is_more_better": figure.is_more_better(), "chains": chains,
        });
        figures.insert(figure.key().to_owned(), entry);
    }
    let runs: Vec<Value> = results
        .runs
        .iter()
        .map(|run| run_json(results, run))
        .collect();
    let all = json!({
        "rounds": results.rounds, "is_quick": results.is_quick, "processors": usage::processors(),
        "tls": results.agreed, "figures": figures, "runs": runs,
    });
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

fn run_json(results: &Results, run: &Run) -> Value {
    json!({
        "round": run.round, "metric": format!("{:?}", run.metric).to_lowercase(),
        "chain": results.chains.get(run.chain).map(|name| name.label()), "load_before": run.load_before,
        "load_after": run.load_after, "busy_before": run.busy_before, "others_share": run.foreign,
    })
}

fn conditions(results: &Results) -> String {
    let disturbed = results.runs.iter().filter(|run| run.is_disturbed()).count();
    let mut tls = results.agreed.clone();
    tls.dedup();
    let quick = if results.is_quick {
        " Quick: not for the record."
    } else {
        ""
    };
    format!(
        "{} round(s) on {} processors, median (min-max). Clients get {}. Others used more than a tenth of the machine in {} of {} runs.{quick}\n\n",
        results.rounds,
        usage::processors(),
        tls.join(" / "),
        disturbed,
        results.runs.len(),
    )
}

fn row(text: &mut String, first: &str, cells: &[String], last: &str) {
    let line = format!("| {first} | {} | {last} |\n", cells.join(" | "));
    text.push_str(&line);
}

fn cell(figure: Figure, spread: Option<Spread>) -> String {
    let Some(Spread { median, min, max }) = spread else {
        return "-".to_owned();
    };
    let digits = figure.digits();
    if min.total_cmp(&max).is_eq() {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
}

fn goal(figure: Figure) -> String {
    let sign = if figure.is_more_better() { ">=" } else { "<=" };
    figure
        .goal()
        .map_or_else(String::new, |goal| format!("{sign} {goal}"))
}

fn verdict(figure: Figure, ratio: Option<f64>) -> String {
    let Some(ratio) = ratio else {
        return "-".to_owned();
    };
    let is_met = figure.goal().map(|goal| {
        if figure.is_more_better() {
            ratio >= goal
        } else {
            ratio <= goal
        }
    });
    match is_met {
        Some(true) => format!("{ratio:.2} met"),
        Some(false) => format!("{ratio:.2} MISSED"),
        None => format!("{ratio:.2}"),
    }
}

/// How much it is of the better peer (by the medians): the median of the ratios of each round, as rounds differ more than
/// chains within a round.
fn ratio(results: &Results, figure: Figure, index: usize) -> Option<f64> {
    let peers = results.chains.iter().enumerate();
    let medians = peers
        .filter(|(_, name)| name.is_peer())
        .filter_map(|(peer, _)| Some((peer, spread(results, figure, peer)?.median)));
    let (better, _) = if figure.is_more_better() {
        medians.max_by(|(_, a), (_, b)| a.total_cmp(b))
    } else {
        medians.min_by(|(_, a), (_, b)| a.total_cmp(b))
    }?;
    let own = results.values.get(&(figure, index))?;
    let theirs = results.values.get(&(figure, better))?;
    let ratios: Vec<f64> = own
        .iter()
        .zip(theirs)
        .map(|(own, their)| own / their)
        .collect();
    Spread::of(&ratios).map(|spread| spread.median)
}

fn spread(results: &Results, figure: Figure, index: usize) -> Option<Spread> {
    Spread::of(results.values.get(&(figure, index))?)
}

fn pairs(results: &Results) -> Vec<(usize, ChainName)> {
    let all = results.chains.iter().copied().enumerate();
    all.filter(|(_, name)| !name.is_peer()).collect()
}
