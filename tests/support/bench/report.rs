//! What was measured, as a table for people or JSON for programs, with ratios against the better peer.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::figure::{Figure, Spread};
use super::results::{Results, Run};
use super::usage;

impl Results {
    /// For programs or for people.
    pub fn text(&self, is_json: bool) -> Result<String> {
        if is_json {
            self.json()
        } else {
            Ok(self.table())
        }
    }

    /// A table in Markdown, so that it can stand in the README as it is.
    fn table(&self) -> String {
        let mut text = self.conditions();
        let pairs: Vec<(usize, &str)> = self
            .chains
            .iter()
            .enumerate()
            .filter(|(_, contender)| !contender.is_peer)
            .map(|(index, contender)| (index, contender.label))
            .collect();
        let names = self
            .chains
            .iter()
            .map(|contender| contender.label.to_owned());
        let ratios = pairs
            .iter()
            .map(|(_, label)| format!("{label} : {}", self.comparison.peer));
        let heads: Vec<String> = names.chain(ratios).collect();
        row(&mut text, "", &heads, "goal");
        row(
            &mut text,
            "---",
            &vec!["---".to_owned(); heads.len()],
            "---",
        );
        for figure in self.comparison.figures.iter().copied() {
            let spreads: Vec<Option<Spread>> = (0..self.chains.len())
                .map(|index| self.spread(figure, index))
                .collect();
            if spreads.iter().all(Option::is_none) {
                continue;
            }
            let cells = spreads.iter().map(|spread| cell(figure, *spread));
            let ratios = pairs
                .iter()
                .map(|(index, _)| verdict(figure, self.ratio(figure, *index)));
            let cells: Vec<String> = cells.chain(ratios).collect();
            row(&mut text, figure.label, &cells, &goal(figure));
        }
        text
    }

    /// Every value, and how the machine was meanwhile.
    fn json(&self) -> Result<String> {
        let figures: Map<String, Value> = self
            .comparison
            .figures
            .iter()
            .map(|figure| (figure.key.to_owned(), self.figure_json(*figure)))
            .collect();
        let runs: Vec<Value> = self.runs.iter().map(|run| self.run_json(run)).collect();
        let mut all = json!({
            "rounds": self.rounds, "is_quick": self.is_quick, "processors": usage::processors(),
            "figures": figures, "runs": runs,
        });
        if let (Some(all), false) = (all.as_object_mut(), self.agreed.is_empty()) {
            all.insert("tls".to_owned(), json!(self.agreed));
        }
        Ok(serde_json::to_string_pretty(&all)? + "\n")
    }

    fn figure_json(&self, figure: Figure) -> Value {
        let mut chains = Map::new();
        for (index, contender) in self.chains.iter().enumerate() {
            let Some(values) = self.values.get(&(figure.key, index)) else {
                continue;
            };
            let spread = Spread::of(values).map(|s| json!([s.min, s.median, s.max]));
            let ratio = self.ratio(figure, index).filter(|_| !contender.is_peer);
            let entry = json!({"min_median_max": spread, "values": values, self.comparison.ratio_key: ratio});
            chains.insert(contender.label.to_owned(), entry);
        }
        json!({
            "label": figure.label, "goal": figure.goal, "is_more_better": figure.is_more_better, "chains": chains,
        })
    }

    fn run_json(&self, run: &Run) -> Value {
        json!({
            "round": run.round, "metric": run.metric,
            "chain": self.chains.get(run.chain).map(|contender| contender.label),
            "load_before": run.used.load_before, "load_after": run.used.load_after,
            "busy_before": run.used.busy_before, "others_share": run.used.foreign,
        })
    }

    fn conditions(&self) -> String {
        let disturbed = self.runs.iter().filter(|run| run.used.is_disturbed());
        let mut tls = self.agreed.clone();
        tls.dedup();
        let tls = if tls.is_empty() {
            String::new()
        } else {
            format!(" Clients get {}.", tls.join(" / "))
        };
        let quick = if self.is_quick {
            " Quick: not for the record."
        } else {
            ""
        };
        format!(
            "{} round(s) on {} processors, median (min-max).{tls} Others used more than a tenth of the machine in {} of {} \
             runs.{quick}\n\n",
            self.rounds,
            usage::processors(),
            disturbed.count(),
            self.runs.len(),
        )
    }
}

fn row(text: &mut String, first: &str, cells: &[String], last: &str) {
    let line = format!("| {first} | {} | {last} |\n", cells.join(" | "));
    text.push_str(&line);
}

fn cell(figure: Figure, spread: Option<Spread>) -> String {
    let Some(Spread { min, median, max }) = spread else {
        return "-".to_owned();
    };
    let digits = figure.digits;
    if min.total_cmp(&max).is_eq() {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
}

fn goal(figure: Figure) -> String {
    let sign = if figure.is_more_better { ">=" } else { "<=" };
    figure
        .goal
        .map_or_else(String::new, |goal| format!("{sign} {goal}"))
}

fn verdict(figure: Figure, ratio: Option<f64>) -> String {
    let Some(ratio) = ratio else {
        return "-".to_owned();
    };
    let is_met = figure.goal.map(|goal| {
        if figure.is_more_better {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::results::{Comparison, Contender};

    const RATE: Figure = Figure::more("things/s", "things_per_second", 0).goal(1.1);
    const COST: Figure = Figure::less("CPU per thing, us", "cpu_us_per_thing", 1).goal(0.5);
    const NEVER: Figure = Figure::less("never measured", "never", 0);

    /// Three rounds of the pair and two peers; of these the second is better in both figures.
    fn results() -> Results {
        let contender = |label, is_peer| Contender { label, is_peer };
        let values = [
            (RATE, 0, [12.0, 24.0, 36.0]),
            (RATE, 1, [1.0, 2.0, 3.0]),
            (RATE, 2, [10.0, 20.0, 30.0]),
            (COST, 0, [6.0, 6.0, 6.0]),
            (COST, 1, [90.0, 90.0, 90.0]),
            (COST, 2, [10.0, 10.0, 10.0]),
        ];
        let values = values.map(|(figure, chain, values)| ((figure.key, chain), values.to_vec()));
        Results {
            comparison: Comparison {
                figures: &[RATE, COST, NEVER],
                peer: "better peer",
                ratio_key: "to_better_peer",
            },
            chains: vec![
                contender("pair", false),
                contender("slow", true),
                contender("fast", true),
            ],
            agreed: Vec::new(),
            rounds: 3,
            is_quick: false,
            values: BTreeMap::from(values),
            runs: Vec::new(),
        }
    }

    #[test]
    fn the_table_compares_the_pair_with_the_better_peer_and_says_whether_the_goal_is_met() {
        let table = results().table();

        let lines: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "|  | pair | slow | fast | pair : better peer | goal |",
                "| --- | --- | --- | --- | --- | --- |",
                "| things/s | 24 (12-36) | 2 (1-3) | 20 (10-30) | 1.20 met | >= 1.1 |",
                "| CPU per thing, us | 6.0 | 90.0 | 10.0 | 0.60 MISSED | <= 0.5 |",
            ]
        );
    }

    #[test]
    fn programs_get_every_value_and_no_word_of_tls_where_there_is_none() {
        let all: Value = serde_json::from_str(&results().json().unwrap()).unwrap();

        let rate = &all["figures"]["things_per_second"]["chains"];
        assert_eq!(rate["pair"]["to_better_peer"], 1.2);
        assert_eq!(rate["pair"]["values"], json!([12.0, 24.0, 36.0]));
        assert_eq!(rate["fast"]["to_better_peer"], Value::Null);
        assert!(all.get("tls").is_none());
    }
}
