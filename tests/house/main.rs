//! House rules that neither the compiler nor clippy can see. Reads sources; runs nothing.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests; a failure ends the test that called them"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

/// Every `.rs` file below a folder, in order.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The rows of the code map at the top of `common/src/lib.rs`: modules by their height.
fn code_map() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(root().join("common/src/lib.rs")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("//! | [`"));
    rows.enumerate()
        .flat_map(|(height, row)| {
            let first_cell = row.split('|').nth(1).unwrap_or_default();
            let names = first_cell.split('`').skip(1).step_by(2);
            names
                .map(move |name| (name.to_owned(), height))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The top-level modules that the code names after `crate::`, with line numbers.
fn used_modules(text: &str) -> Vec<(usize, String)> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .collect();
    let code = code.join("\n");
    let mut pieces = code.split("crate::");
    let mut line = 1 + pieces.next().map_or(0, line_ends);
    let mut used = Vec::new();
    for piece in pieces {
        match piece.strip_prefix('{') {
            None => used.push((line, first_word(piece))),
            Some(group) => {
                used.extend(group_members(group).into_iter().map(|name| (line, name)));
            }
        }
        line += line_ends(piece);
    }
    used
}

fn line_ends(text: &str) -> usize {
    text.matches('\n').count()
}

/// The first words of the members of `a::b, c::{d, e}, f}`.
fn group_members(group: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut members = vec![String::new()];
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(String::new()),
            _ => members.last_mut().unwrap().push(character),
        }
    }
    let words = members.iter().map(|member| first_word(member.trim()));
    words.filter(|word| !word.is_empty()).collect()
}

fn first_word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn a_module_of_common_uses_only_those_above_it() {
    let map = code_map();
    assert!(
        map.len() > 10,
        "the code map in common/src/lib.rs was not understood"
    );
    let src = root().join("common/src");
    let mut broken = Vec::new();
    for file in sources(&src) {
        let relative = file.strip_prefix(&src).unwrap();
        let own = first_word(
            &relative
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_string_lossy(),
        );
        let Some(height) = map.get(&own) else {
            continue; // lib.rs, and `testing`, which is for tests only
        };
        for (line, used) in used_modules(&fs::read_to_string(&file).unwrap()) {
            let is_above = map
                .get(&used)
                .is_none_or(|other| other < height || used == own);
            let is_neighbour = map.get(&used) == Some(height);
            if !is_above && !is_neighbour {
                broken.push(format!("{}:{line} uses {used}", relative.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_code_map_names_every_module_of_common() {
    let map = code_map();
    let text = fs::read_to_string(root().join("common/src/lib.rs")).unwrap();
    let modules = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "));
    for module in modules.map(first_word) {
        assert!(
            map.contains_key(&module) || module == "testing",
            "{module} is not in the map"
        );
    }
}

#[test]
fn the_edges_do_not_depend_on_each_other() {
    for (edge, other) in [("edge-e", "edge-c"), ("edge-c", "edge-e")] {
        let manifest = fs::read_to_string(root().join(edge).join("Cargo.toml")).unwrap();
        let names = manifest
            .lines()
            .map(|line| line.split(['.', ' ', '=']).next());
        assert!(
            !names.flatten().any(|name| name == other),
            "{edge} depends on {other}"
        );
    }
}

#[test]
fn every_source_file_says_first_what_it_is() {
    for member in [
        "certs",
        "common/src",
        "common/benches",
        "edge-c",
        "edge-e",
        "tests",
    ] {
        let dir = root().join(member);
        if !dir.exists() {
            continue;
        }
        for file in sources(&dir) {
            let is_tests = file.file_name().is_some_and(|name| name == "tests.rs");
            let is_built = file.components().any(|part| part.as_os_str() == "target");
            let text = fs::read_to_string(&file).unwrap();
            let is_said = text.starts_with("//! ") || text.starts_with("#![no_main]");
            assert!(is_said || is_tests || is_built, "{}", file.display());
        }
    }
}

mod reading {
    use super::*;

    #[test]
    fn grouped_and_plain_paths_are_seen_and_comments_are_not() {
        let text =
            "use crate::limits;\nuse crate::{net::{Domain, Host}, time};\n// crate::runtime\n";

        let used = used_modules(text);

        let names: Vec<&str> = used.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["limits", "net", "time"]);
        assert_eq!(used[0].0, 1);
    }
}
