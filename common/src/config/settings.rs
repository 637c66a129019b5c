//! The settings of a configuration file by their whole keys, to say which of them a reload finds changed.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// Every setting of one file, by its key with the tables in front (`sign_in.login_limit.count`). The tables of an
/// array (`[[domain]]`) are one setting together, as their order counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(BTreeMap<String, Value>);

impl Settings {
    /// The settings of `document`.
    #[must_use]
    pub fn of(document: Table) -> Self {
        let mut settings = BTreeMap::new();
        flatten("", document, &mut settings);
        Self(settings)
    }

    /// The keys that `newer` sets otherwise, adds or leaves out, without those that are in `live` or stand in a table
    /// that is; in the order of the alphabet.
    #[must_use]
    pub fn changed_but(&self, newer: &Self, live: &[&str]) -> Vec<String> {
        let keys = self.0.keys().chain(newer.0.keys());
        let changed = keys.filter(|key| self.0.get(*key) != newer.0.get(*key));
        let mut waiting: Vec<String> = changed.filter(|key| !covers(live, key)).cloned().collect();
        waiting.sort_unstable();
        waiting.dedup();
        waiting
    }
}

fn flatten(prefix: &str, table: Table, into: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let whole = if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        };
        if let Value::Table(inner) = value {
            // As deep as the document, which the parser bounds.
            flatten(&whole, inner, into);
        } else {
            into.insert(whole, value);
        }
    }
}

fn covers(live: &[&str], key: &str) -> bool {
    live.iter().any(|table| {
        key.strip_prefix(table)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::of(text.parse().unwrap())
    }

    #[test]
    fn changed_added_and_removed_settings_are_named_once_by_their_whole_keys() {
        let before = settings("a = 1\n[t]\nb = 2\nc = 3\n[t.u]\nd = 4");
        let after = settings("a = 1\n[t]\nb = 5\ne = 6\n[t.u]\nd = 4");

        assert_eq!(before.changed_but(&after, &[]), ["t.b", "t.c", "t.e"]);
    }

    #[test]
    fn what_is_live_is_left_out_with_everything_below_it_and_nothing_beside_it() {
        let before = settings("limits = { x = 1 }\nlimits_too = 1");
        let after = settings("limits = { x = 2 }\nlimits_too = 2");

        assert_eq!(before.changed_but(&after, &["limits"]), ["limits_too"]);
    }

    #[test]
    fn an_array_of_tables_is_one_setting() {
        let before = settings("[[edge]]\nname = \"a\"");
        let after = settings("[[edge]]\nname = \"a\"\n[[edge]]\nname = \"b\"");

        assert_eq!(before.changed_but(&after, &[]), ["edge"]);
    }

    #[test]
    fn other_spelling_of_the_same_value_is_no_change() {
        let before = settings("[t]\nlist = [1, 2]");
        let after = settings("t.list = [\n 1,\n 2, # two\n]");

        assert_eq!(before.changed_but(&after, &[]), Vec::<String>::new());
    }
}
