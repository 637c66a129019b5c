//! The two CSV formats that administrators bring along: rules (`Url,Deployment,HttpMethods,MatchType,Description`) and
//! tests (`Url,ExpectedResult,Deployment,Description,HttpMethod`).
//!
//! More is accepted than in the TOML file, as other products wrote these files: columns in any order, letter case of the
//! fixed words, paths in another than their normal form. What can't be expressed (expiry, `forward_authorization`) is
//! lost by an export.

use std::sync::Arc;

use csv::StringRecord;

use crate::limits;
use crate::net::Deployment;
use crate::policy::allow_list::file::{Expected, Problem, Problems, TestCase, shown};
use crate::policy::allow_list::{Match, MethodSet, Rule, RuleSource, Url, method, rule};

/// Reads CSV rules; `default_methods` is for rows that name none.
///
/// # Errors
/// [`Problems`]: everything that is wrong, with the line of each row.
pub fn read_rules(
    name: &str,
    text: &str,
    default_methods: &MethodSet,
) -> Result<Vec<Arc<Rule>>, Problems> {
    let mut problems = Problems::new(name);
    let rows = rows(
        text,
        &RULE_COLUMNS,
        limits::ALLOW_LIST_RULES_MAX,
        &mut problems,
    );
    let rules = rows
        .iter()
        .filter_map(|row| read_rule(row, default_methods, &mut problems).map(Arc::new))
        .collect();
    problems.into_result(rules)
}

/// Reads CSV tests. They are not run.
///
/// # Errors
/// [`Problems`]: everything that is wrong, with the line of each row.
pub fn read_tests(name: &str, text: &str) -> Result<Vec<TestCase>, Problems> {
    let mut problems = Problems::new(name);
    let rows = rows(
        text,
        &TEST_COLUMNS,
        limits::ALLOW_LIST_TESTS_MAX,
        &mut problems,
    );
    let tests = rows
        .iter()
        .filter_map(|row| read_test(row, &mut problems))
        .collect();
    problems.into_result(tests)
}

/// Writes rules; the methods are written out only where the rule has its own.
#[must_use]
pub fn write_rules<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> String {
    let rows = rules.into_iter().map(|rule| {
        let methods: Vec<&str> = rule.methods.iter().collect();
        let methods = if rule.has_own_methods {
            methods.join(",")
        } else {
            String::new()
        };
        [
            rule.url.to_string(),
            rule.deployment.to_string(),
            methods,
            rule.matching.as_str().to_owned(),
            rule.description.clone(),
        ]
    });
    write(&RULE_COLUMNS, rows)
}

/// Writes tests.
#[must_use]
pub fn write_tests<'a>(tests: impl IntoIterator<Item = &'a TestCase>) -> String {
    let rows = tests.into_iter().map(|test| {
        [
            test.url.clone(),
            test.expected.as_str().to_owned(),
            test.deployment.to_string(),
            test.description.clone(),
            test.method.clone(),
        ]
    });
    write(&TEST_COLUMNS, rows)
}

const RULE_COLUMNS: [&str; 5] = [
    "Url",
    "Deployment",
    "HttpMethods",
    "MatchType",
    "Description",
];
const TEST_COLUMNS: [&str; 5] = [
    "Url",
    "ExpectedResult",
    "Deployment",
    "Description",
    "HttpMethod",
];

/// One row, its fields in the order of the columns.
struct Row {
    line: usize,
    place: String,
    fields: [String; 5],
}

impl Row {
    fn wrong(&self, key: &'static str, value: &str, what: &str, allowed: Option<&str>) -> Problem {
        Problem {
            line: self.line,
            place: self.place.clone(),
            key,
            value: Some(shown(value)),
            what: what.to_owned(),
            allowed: allowed.map(str::to_owned),
        }
    }

    fn deployment(&self, name: &str, problems: &mut Problems) -> Deployment {
        if name.is_empty() {
            return Deployment::standard();
        }
        if name.len() > limits::DEPLOYMENT_BYTES_MAX {
            let what = format!("is longer than {} octets", limits::DEPLOYMENT_BYTES_MAX);
            problems.push(self.wrong("Deployment", name, &what, None));
        }
        Deployment(name.into())
    }

    fn description(&self, text: &str, problems: &mut Problems) -> String {
        let bytes_max = limits::ALLOW_LIST_DESCRIPTION_BYTES_MAX;
        if text.len() > bytes_max {
            let what = format!("is longer than {bytes_max} octets");
            problems.push(self.wrong("Description", text, &what, None));
        }
        text.to_owned()
    }
}

fn read_rule(row: &Row, default_methods: &MethodSet, problems: &mut Problems) -> Option<Rule> {
    let [url, deployment, methods, matching, description] = &row.fields;
    let parsed = Url::parse(url)
        .map_err(|error| problems.push(row.wrong("Url", url, &error.to_string(), None)))
        .ok();
    let names = methods.split([',', ' ']).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_ascii_uppercase).collect();
    let own_methods = MethodSet::parse(names.iter().map(String::as_str))
        .map_err(|error| problems.push(row.wrong("HttpMethods", methods, &error.to_string(), None)))
        .ok();
    let kind = match matching.to_ascii_lowercase().as_str() {
        "" | "prefix" => Some(Match::Prefix),
        "exact" => Some(Match::Exact),
        _ => {
            let what = "is not a way to match";
            problems.push(row.wrong("MatchType", matching, what, Some("exact, prefix, empty")));
            None
        }
    };
    let deployment = row.deployment(deployment, problems);
    let description = row.description(description, problems);
    let own_methods = own_methods?;
    let has_own_methods = !own_methods.is_empty();
    Some(Rule {
        url: parsed?,
        matching: kind?,
        methods: if has_own_methods {
            own_methods
        } else {
            default_methods.clone()
        },
        has_own_methods,
        deployment,
        expires: None,
        forward_authorization: false,
        description,
        source: RuleSource::File { line: row.line },
    })
}

fn read_test(row: &Row, problems: &mut Problems) -> Option<TestCase> {
    let [url, expected, deployment, description, method] = &row.fields;
    let split = rule::split(url)
        .map_err(|error| problems.push(row.wrong("Url", url, &error.to_string(), None)))
        .ok();
    let verdict = Expected::parse(&expected.to_ascii_lowercase());
    if verdict.is_none() {
        let what = "is not a verdict";
        problems.push(row.wrong("ExpectedResult", expected, what, Some("allow, block")));
    }
    let method = match method.to_ascii_uppercase() {
        empty if empty.is_empty() => "GET".to_owned(),
        name => name,
    };
    if let Err(error) = method::check(&method)
        && error != method::MethodError::Never
    {
        problems.push(row.wrong("HttpMethod", &method, &error.to_string(), None));
    }
    let deployment = row.deployment(deployment, problems);
    let description = row.description(description, problems);
    let (origin, target) = split?;
    Some(TestCase {
        url: url.clone(),
        origin,
        target: rule::read_target(target),
        method,
        deployment,
        expected: verdict?,
        description,
        line: row.line,
    })
}

/// Reads header and rows; rows that can't be read are reported and left out.
fn rows(
    text: &str,
    columns: &'static [&'static str; 5],
    count_max: usize,
    problems: &mut Problems,
) -> Vec<Row> {
    if text.len() > limits::ALLOW_LIST_FILE_BYTES_MAX {
        let what = format!("over {} octets", limits::ALLOW_LIST_FILE_BYTES_MAX);
        problems.push(whole(0, what));
        return Vec::new();
    }
    // Spreadsheets put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let order = match reader.headers() {
        Ok(header) => order(header, columns, problems),
        Err(error) => {
            problems.push(whole(1, error.to_string()));
            None
        }
    };
    let Some(order) = order else {
        return Vec::new();
    };

    let mut rows = Vec::new();
    let mut lines = Lines {
        text,
        at: 0,
        line: 1,
    };
    for (at, record) in reader.records().enumerate() {
        let place = format!("row {}", at.saturating_add(1));
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                problems.push(whole(0, format!("{place}: {error}")));
                continue;
            }
        };
        let line = lines.at(record.position().map_or(0, csv::Position::byte));
        if at >= count_max {
            problems.push(whole(line, format!("over {count_max} rows")));
            break;
        }
        if record.len() > order.width {
            let what = format!(
                "{place}: {} fields, but {} columns",
                record.len(),
                order.width
            );
            problems.push(whole(line, what));
            continue;
        }
        let fields = order.columns.map(|at| {
            at.and_then(|at| record.get(at))
                .unwrap_or_default()
                .to_owned()
        });
        rows.push(Row {
            line,
            place,
            fields,
        });
    }
    rows
}

/// Counts lines by the offset of records: after CR LF the reader's own count is behind by one.
struct Lines<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line of the record that begins at `offset` or after the line ends there; offsets only grow.
    fn at(&mut self, offset: u64) -> usize {
        let bytes = self.text.as_bytes();
        let mut end = usize::try_from(offset).unwrap_or(usize::MAX);
        while let Some(b'\r' | b'\n') = bytes.get(end) {
            end = end.saturating_add(1);
        }
        let between = bytes.get(self.at..end).unwrap_or_default();
        let newlines = between.iter().filter(|byte| **byte == b'\n').count();
        self.at = end;
        self.line = self.line.saturating_add(newlines);
        self.line
    }
}

/// Where each column stands in this file.
struct Order {
    columns: [Option<usize>; 5],
    width: usize,
}

/// Every column must be there but those whose fields may all be empty; no other column may be.
fn order(
    header: &StringRecord,
    columns: &'static [&'static str; 5],
    problems: &mut Problems,
) -> Option<Order> {
    let position = |column: &str| {
        header
            .iter()
            .position(|name| name.eq_ignore_ascii_case(column))
    };
    let mut is_good = true;
    for name in header {
        if !columns
            .iter()
            .any(|column| column.eq_ignore_ascii_case(name))
        {
            is_good = false;
            problems.push(Problem {
                allowed: Some(columns.join(",")),
                ..whole(1, format!("the column `{}` is not known", shown(name)))
            });
        }
    }
    for required in ["Url", "ExpectedResult"] {
        if columns.contains(&required) && position(required).is_none() {
            is_good = false;
            problems.push(Problem {
                allowed: Some(columns.join(",")),
                ..whole(1, format!("the column `{required}` is missing"))
            });
        }
    }
    is_good.then(|| Order {
        columns: columns.map(position),
        width: header.len(),
    })
}

fn whole(line: usize, what: String) -> Problem {
    Problem {
        line,
        place: String::new(),
        key: "",
        value: None,
        what,
        allowed: None,
    }
}

fn write(header: &[&str; 5], rows: impl Iterator<Item = [String; 5]>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory doesn't fail; a row that could not be written would be missing, never wrong.
    drop(writer.write_record(header));
    for row in rows {
        drop(writer.write_record(&row));
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
