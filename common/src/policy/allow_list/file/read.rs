//! From TOML text to rules and tests, collecting every problem on the way.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml::value::{Datetime, Offset};

use crate::limits;
use crate::net::{Deployment, Scheme};
use crate::policy::allow_list::file::{
    AllowListFile, Expected, Problem, Problems, TestCase, shown,
};
use crate::policy::allow_list::{Match, MethodSet, Rule, RuleSource, Url, method, rule};
use crate::time::UnixTime;

/// Reads the file without running its tests.
pub(super) fn read(name: &str, text: &str) -> Result<AllowListFile, Problems> {
    let mut reader = Reader {
        text,
        problems: Problems::new(name),
    };
    if text.len() > limits::ALLOW_LIST_FILE_BYTES_MAX {
        let what = format!("over {} octets", limits::ALLOW_LIST_FILE_BYTES_MAX);
        reader.problems.push(problem(0, "", &what));
        return Err(reader.problems);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reader.problems.push_with(|| {
            let line = error.span().map_or(0, |span| line_of(text, &span));
            problem(line, "", error.message())
        });
    }
    if !errors.is_empty() {
        return Err(reader.problems);
    }
    let file = reader.document(document.get_ref());
    reader.problems.into_result(file)
}

/// The line that a span begins in, counted from 1.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    let newlines = before.iter().filter(|byte| **byte == b'\n').count();
    newlines.saturating_add(1)
}

struct Reader<'t> {
    text: &'t str,
    problems: Problems,
}

impl<'t> Reader<'t> {
    fn document(&mut self, table: &DeTable<'_>) -> AllowListFile {
        let mut top = Fields::new(self, table, 0..0, String::new());
        let default_methods = top.methods("default_methods");
        top.finish(&["default_methods", "rule", "test"]);
        let default_methods = default_methods.unwrap_or_else(MethodSet::standard);

        let mut rules = Vec::new();
        let mut tests = Vec::new();
        self.each("rule", table, limits::ALLOW_LIST_RULES_MAX, |fields| {
            rules.extend(read_rule(fields, &default_methods).map(Arc::new));
        });
        self.each("test", table, limits::ALLOW_LIST_TESTS_MAX, |fields| {
            tests.extend(read_test(fields));
        });
        AllowListFile {
            default_methods,
            rules,
            tests,
        }
    }

    /// Hands every `[[key]]` table to `read`.
    fn each(
        &mut self,
        key: &'static str,
        table: &DeTable<'_>,
        count_max: usize,
        mut read: impl FnMut(Fields<'_, 't, '_>),
    ) {
        let Some(value) = table.get(key) else {
            return;
        };
        let Some(array) = value.get_ref().as_array() else {
            let what = format!("is not a list of tables: write [[{key}]]");
            self.report(&value.span(), "", key, Some(value), &what, None);
            return;
        };
        if array.len() > count_max {
            let what = format!("{} tables are over the bound of {count_max}", array.len());
            self.report(&value.span(), "", key, None, &what, None);
            return;
        }
        // Lines are counted on from table to table: from the top each time would be quadratic.
        let mut line = 1;
        let mut counted = 0;
        for (at, element) in array.iter().enumerate() {
            let place = format!("{key} {}", at.saturating_add(1));
            let start = element.span().start;
            let between = self.text.as_bytes().get(counted..start).unwrap_or_default();
            line += between.iter().filter(|byte| **byte == b'\n').count();
            counted = counted.max(start);
            match element.get_ref() {
                DeValue::Table(table) => {
                    let mut fields = Fields::new(self, table, element.span(), place);
                    fields.line = line;
                    read(fields);
                }
                DeValue::Array(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Float(_)
                | DeValue::Integer(_)
                | DeValue::String(_) => {
                    let what = format!("is not a table: write [[{key}]]");
                    self.report(&element.span(), &place, "", Some(element), &what, None);
                }
            }
        }
    }

    fn report(
        &mut self,
        span: &Range<usize>,
        place: &str,
        key: &'static str,
        value: Option<&Spanned<DeValue<'_>>>,
        what: &str,
        allowed: Option<&str>,
    ) {
        let text = self.text;
        self.problems.push_with(|| Problem {
            line: line_of(text, span),
            place: place.to_owned(),
            key,
            value: value.and_then(|value| text.get(value.span())).map(shown),
            what: what.to_owned(),
            allowed: allowed.map(str::to_owned),
        });
    }
}

/// The keys of one table, taken one by one. What is missing or of the wrong type is reported and read as absent.
struct Fields<'r, 't, 'd> {
    reader: &'r mut Reader<'t>,
    table: &'d DeTable<'d>,
    span: Range<usize>,
    line: usize,
    place: String,
}

impl<'r, 't, 'd> Fields<'r, 't, 'd> {
    const fn new(
        reader: &'r mut Reader<'t>,
        table: &'d DeTable<'d>,
        span: Range<usize>,
        place: String,
    ) -> Self {
        Self {
            reader,
            table,
            span,
            line: 0,
            place,
        }
    }

    fn wrong(&mut self, key: &'static str, what: &str, allowed: Option<&str>) {
        let value = self.table.get(key);
        let span = value.map_or_else(|| self.span.clone(), Spanned::span);
        self.reader
            .report(&span, &self.place, key, value, what, allowed);
    }

    fn text(&mut self, key: &'static str) -> Option<&'d str> {
        let text = self.table.get(key)?.get_ref().as_str();
        if text.is_none() {
            self.wrong(key, "is not a text in quotes", None);
        }
        text
    }

    fn bounded_text(&mut self, key: &'static str, bytes_max: usize) -> Option<&'d str> {
        let text = self.text(key)?;
        if text.len() > bytes_max {
            self.wrong(key, &format!("is longer than {bytes_max} octets"), None);
            return None;
        }
        Some(text)
    }

    fn required_text(&mut self, key: &'static str, allowed: &str) -> Option<&'d str> {
        if self.table.contains_key(key) {
            return self.text(key);
        }
        self.wrong(key, "is missing", Some(allowed));
        None
    }

    fn flag(&mut self, key: &'static str) -> Option<bool> {
        let flag = self.table.get(key)?.get_ref().as_bool();
        if flag.is_none() {
            self.wrong(key, "is neither true nor false", Some("true, false"));
        }
        flag
    }

    /// `None` if absent or wrong; what is wrong is reported, so no wrong set is ever used.
    fn methods(&mut self, key: &'static str) -> Option<MethodSet> {
        let value = self.table.get(key)?;
        let allowed = Some("a list such as [\"GET\", \"HEAD\", \"POST\"]");
        let names: Option<Vec<&str>> = value.get_ref().as_array().and_then(|array| {
            let names = array.iter().map(|name| name.get_ref().as_str());
            names.collect()
        });
        let Some(names) = names else {
            self.wrong(key, "is not a list of method names", allowed);
            return None;
        };
        MethodSet::parse(names)
            .map_err(|error| self.wrong(key, &error.to_string(), allowed))
            .ok()
    }

    fn deployment(&mut self) -> Deployment {
        match self.bounded_text("deployment", limits::DEPLOYMENT_BYTES_MAX) {
            Some("") => {
                self.wrong("deployment", "is empty: leave it out for \"default\"", None);
                Deployment::standard()
            }
            Some(name) => Deployment(name.into()),
            None => Deployment::standard(),
        }
    }

    fn expires(&mut self) -> Option<UnixTime> {
        let value = self.table.get("expires")?;
        let date = match value.get_ref() {
            DeValue::Datetime(date) => Some(*date),
            DeValue::String(text) => text.parse().ok(),
            DeValue::Array(_)
            | DeValue::Boolean(_)
            | DeValue::Float(_)
            | DeValue::Integer(_)
            | DeValue::Table(_) => None,
        };
        let result = date.map_or(Err("is not a date"), |date| end_of(&date));
        result
            .map_err(|what| {
                self.wrong(
                    "expires",
                    what,
                    Some("2027-12-31 (the last day, in UTC), 2027-12-31T18:00:00+01:00"),
                );
            })
            .ok()
    }

    /// Reports every key that has no meaning.
    fn finish(self, known: &[&'static str]) {
        for (key, _) in self.table {
            if !known.contains(&key.get_ref().as_ref()) {
                let what = format!("the key `{}` is not known here", shown(key.get_ref()));
                self.reader.report(
                    &key.span(),
                    &self.place,
                    "",
                    None,
                    &what,
                    Some(&known.join(", ")),
                );
            }
        }
    }
}

fn read_rule(mut fields: Fields<'_, '_, '_>, default_methods: &MethodSet) -> Option<Rule> {
    let url = read_url(&mut fields);
    let matching =
        fields
            .required_text("match", MATCHES)
            .and_then(|text| match Match::parse(text) {
                Some(matching) => Some(matching),
                None => {
                    fields.wrong("match", "is not a way to match", Some(MATCHES));
                    None
                }
            });
    let methods = fields.methods("methods");
    if methods.as_ref().is_some_and(MethodSet::is_empty) {
        let what = "a rule without methods allows nothing: leave it out for default_methods";
        fields.wrong("methods", what, None);
    }
    let deployment = fields.deployment();
    let expires = fields.expires();
    let description = fields.bounded_text("description", limits::ALLOW_LIST_DESCRIPTION_BYTES_MAX);
    let forward_authorization = fields.flag("forward_authorization").unwrap_or_default();
    let is_plain = url
        .as_ref()
        .is_some_and(|url| url.origin.scheme == Scheme::Http);
    if forward_authorization && is_plain {
        let what = "credentials are never sent over http: use an https URL";
        fields.wrong("forward_authorization", what, Some("false"));
    }
    let line = fields.line;
    fields.finish(&[
        "description",
        "url",
        "match",
        "methods",
        "deployment",
        "expires",
        "forward_authorization",
    ]);
    Some(Rule {
        url: url?,
        matching: matching?,
        has_own_methods: methods.is_some(),
        methods: methods.unwrap_or_else(|| default_methods.clone()),
        deployment,
        expires,
        forward_authorization,
        description: description.unwrap_or_default().to_owned(),
        source: RuleSource::File { line },
    })
}

/// A rule says what it means: its URL must be written in the normal form, or an administrator may read another path than
/// the one that is matched.
fn read_url(fields: &mut Fields<'_, '_, '_>) -> Option<Url> {
    let allowed = "an absolute URL such as \"https://photos.example.com/thumbs/\"";
    let written = fields.required_text("url", allowed)?;
    let url = match Url::parse(written) {
        Ok(url) => url,
        Err(error) => {
            fields.wrong("url", &error.to_string(), Some(allowed));
            return None;
        }
    };
    let is_normal = rule::split(written)
        .is_ok_and(|(_, target)| target.is_empty() || url.target.to_string() == target);
    if is_normal {
        return Some(url);
    }
    let what = "the path is not in its normal form";
    fields.wrong("url", what, Some(&format!("\"{url}\"")));
    None
}

fn read_test(mut fields: Fields<'_, '_, '_>) -> Option<TestCase> {
    let allowed = "an absolute URL such as \"https://photos.example.com/thumbs/alice.jpg\"";
    let url = fields.required_text("url", allowed);
    let split = url.and_then(|url| match rule::split(url) {
        Ok(split) => Some(split),
        Err(error) => {
            fields.wrong("url", &error.to_string(), Some(allowed));
            None
        }
    });
    let expected = fields
        .required_text("expected", EXPECTATIONS)
        .and_then(|text| match Expected::parse(text) {
            Some(expected) => Some(expected),
            None => {
                fields.wrong("expected", "is not a verdict", Some(EXPECTATIONS));
                None
            }
        });
    let method = fields.text("method").unwrap_or("GET");
    if let Err(error) = method::check(method)
        && error != method::MethodError::Never
    {
        fields.wrong("method", &error.to_string(), Some("GET, HEAD, POST .."));
    }
    let deployment = fields.deployment();
    let description = fields.bounded_text("description", limits::ALLOW_LIST_DESCRIPTION_BYTES_MAX);
    let line = fields.line;
    fields.finish(&["description", "url", "method", "deployment", "expected"]);
    let (origin, target) = split?;
    Some(TestCase {
        url: url?.to_owned(),
        origin,
        target: rule::read_target(target),
        method: method.to_owned(),
        deployment,
        expected: expected?,
        description: description.unwrap_or_default().to_owned(),
        line,
    })
}

/// When a date in `expires` has passed: a bare date counts to its end.
fn end_of(date: &Datetime) -> Result<UnixTime, &'static str> {
    match (date.date, date.time, date.offset) {
        (None, _, _) => return Err("has no date"),
        (Some(_), None, _) | (Some(_), Some(_), Some(_)) => {}
        (Some(_), Some(_), None) => return Err("has a time but no offset: add Z for UTC"),
    }
    let civil = civil(date).ok_or("is not a date in the calendar")?;
    let offset_minutes = match date.offset {
        Some(Offset::Custom { minutes }) => i64::from(minutes),
        Some(Offset::Z) | None => 0,
    };
    let local = civil
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|_| "is not a date in the calendar")?
        .timestamp()
        .as_second();
    let day_seconds = if date.time.is_none() { 86_400 } else { 0 };
    let second = local
        .saturating_sub(offset_minutes.saturating_mul(60))
        .saturating_add(day_seconds);
    u64::try_from(second)
        .ok()
        .filter(|second| *second > 0)
        .map(UnixTime)
        .ok_or("is before 1970")
}

fn civil(date: &Datetime) -> Option<jiff::civil::DateTime> {
    let day = date.date?;
    let time = date.time;
    jiff::civil::DateTime::new(
        i16::try_from(day.year).ok()?,
        i8::try_from(day.month).ok()?,
        i8::try_from(day.day).ok()?,
        time.map_or(Some(0), |time| i8::try_from(time.hour).ok())?,
        time.map_or(Some(0), |time| i8::try_from(time.minute).ok())?,
        // A leap second is the last second of its minute.
        time.and_then(|time| time.second)
            .map_or(Some(0), |second| i8::try_from(second.min(59)).ok())?,
        0,
    )
    .ok()
}

fn problem(line: usize, key: &'static str, what: &str) -> Problem {
    Problem {
        line,
        place: String::new(),
        key,
        value: None,
        what: what.to_owned(),
        allowed: None,
    }
}

const MATCHES: &str = "\"exact\", \"prefix\"";
const EXPECTATIONS: &str = "\"allow\", \"block\"";
