//! What was measured, as a table for people or JSON for programs, with ratios against the peer.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::figure::{Figure, Spread};
use crate::measure::Results;
use crate::usage;

/// A table in Markdown, so that it can stand in the README as it is.
pub(crate) fn table(results: &Results) -> String {
    let disturbed = results.runs.iter().filter(|run| run.is_disturbed()).count();
    let quick = if results.is_quick {
        " Quick: not for the record."
    } else {
        ""
    };
    let mut text = format!(
        "{} round(s) on {} processors, median (min-max). Others used more than a tenth of the machine in {disturbed} of {} \
         runs.{quick}\n\n",
        results.rounds,
        usage::processors(),
        results.runs.len(),
    );
    let names = results.chains.iter().map(|name| name.label().to_owned());
    let own = |index: &usize| {
        results
            .chains
            .get(*index)
            .is_some_and(|name| !name.is_peer())
    };
    let pairs: Vec<usize> = (0..results.chains.len()).filter(own).collect();
    let ratios = pairs.iter().filter_map(|index| results.chains.get(*index));
    let ratios = ratios.map(|name| format!("{} : Kamailio", name.label()));
    let heads: Vec<String> = names.chain(ratios).collect();
    row(&mut text, "", &heads, "goal");
    row(
        &mut text,
        "---",
        &vec!["---".to_owned(); heads.len()],
        "---",
    );
    for figure in Figure::ALL {
        let spreads: Vec<Option<Spread>> = (0..results.chains.len())
            .map(|index| results.spread(figure, index))
            .collect();
        if spreads.iter().all(Option::is_none) {
            continue;
        }
        let cells = spreads.iter().map(|spread| cell(figure, *spread));
        let verdicts = pairs
            .iter()
            .map(|index| verdict(figure, ratio(results, figure, *index)));
        let cells: Vec<String> = cells.chain(verdicts).collect();
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
            let ratio = ratio(results, figure, index).filter(|_| !name.is_peer());
            let entry = json!({"min_median_max": spread, "values": values, "to_peer": ratio});
            chains.insert(name.label().to_owned(), entry);
        }
        let entry = json!({
            "label": figure.label(), "goal": figure.goal(), "is_more_better": figure.is_more_better(), "chains": chains,
        });
        figures.insert(figure.key().to_owned(), entry);
    }
    let run = |run: &crate::measure::Run| {
        json!({
            "round": run.round, "metric": format!("{:?}", run.metric).to_lowercase(),
            "chain": results.chains.get(run.chain).map(|name| name.label()), "load_before": run.load_before, "busy_before": run.busy_before,
            "others_share": run.foreign,
        })
    };
    let runs: Vec<Value> = results.runs.iter().map(run).collect();
    let all = json!({
        "rounds": results.rounds, "is_quick": results.is_quick, "processors": usage::processors(),
        "figures": figures, "runs": runs,
    });
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

fn row(text: &mut String, first: &str, cells: &[String], last: &str) {
    text.push_str(&format!("| {first} | {} | {last} |\n", cells.join(" | ")));
}

fn cell(figure: Figure, spread: Option<Spread>) -> String {
    let Some(Spread { min, median, max }) = spread else {
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

/// How much it is of the peer: the median of the ratios of each round, as rounds differ more than chains within one.
fn ratio(results: &Results, figure: Figure, index: usize) -> Option<f64> {
    let peer = results.chains.iter().position(|name| name.is_peer())?;
    let own = results.values.get(&(figure, index))?;
    let theirs = results.values.get(&(figure, peer))?;
    let ratios: Vec<f64> = own
        .iter()
        .zip(theirs)
        .map(|(own, their)| own / their)
        .collect();
    Spread::of(&ratios).map(|spread| spread.median)
}
