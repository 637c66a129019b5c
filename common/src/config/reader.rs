//! Reads tables and values of a configuration file, and collects everything that is wrong in one pass.
//!
//! A section is a function from a [`Table`] to an `Option` of its typed form: `None` only if an error was
//! noted. A key counts as allowed because a section asked for it, so the list of allowed keys can't drift from
//! the code; what nobody asked for is refused when the table goes out of scope. Reads no file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{ConfigError, ConfigWarning, Place, Problem};
use super::nearest::nearest;
use super::value::{self, Value};
use crate::limits;

/// A file that the configuration names, to be looked at once everything is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUse {
    /// The key that names it.
    pub place: Place,
    /// The file, with its folder.
    pub path: PathBuf,
    /// What must be in it.
    pub kind: FileKind,
}

/// What a named file must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Certificates in PEM form, the leaf first.
    Chain,
    /// Keys of DNS cookies.
    CookieKeys,
    /// The private key in PEM form of the certificate in the named file.
    KeyOf(PathBuf),
    /// Text that another part reads.
    Text,
    /// Trust anchors in PEM form.
    TrustAnchors,
    /// The zone of this name.
    Zone(crate::dns::Name),
}

/// What one pass over a file found.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) errors: Vec<(usize, ConfigError)>,
    pub(super) warnings: Vec<ConfigWarning>,
    pub(super) files: Vec<FileUse>,
    pub(super) allowed: BTreeSet<String>,
    pub(super) present: BTreeSet<String>,
}

/// The text of the file, and the notes about it.
#[derive(Debug)]
pub(super) struct Context<'a> {
    file: &'a Path,
    text: &'a str,
    pub(super) notes: RefCell<Notes>,
}

impl<'a> Context<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            notes: RefCell::default(),
        }
    }

    pub(super) fn place(&self, key: &str, offset: Option<usize>) -> Place {
        let before = offset.and_then(|offset| self.text.get(..offset));
        Place {
            file: self.file.to_owned(),
            line: before.map(|text| text.matches('\n').count().saturating_add(1)),
            key: key.to_owned(),
        }
    }

    pub(super) fn note(&self, key: &str, span: Option<Range<usize>>, problem: Problem) {
        let start = span.as_ref().map(|span| span.start);
        let value = span
            .and_then(|span| self.text.get(span))
            .filter(|text| !text.is_empty() && !matches!(problem, Problem::Secret { .. }))
            .map(value::shorten);
        let error = ConfigError {
            place: self.place(key, start),
            value,
            problem,
        };
        let mut notes = self.notes.borrow_mut();
        notes.errors.push((start.unwrap_or(0), error));
    }

    /// Notes a problem with a key itself: there is no value worth repeating.
    pub(super) fn note_key(&self, key: &str, span: Range<usize>, problem: Problem) {
        let error = ConfigError {
            place: self.place(key, Some(span.start)),
            value: None,
            problem,
        };
        self.notes.borrow_mut().errors.push((span.start, error));
    }

    /// A path of the file, which starts at the folder of the configuration file if it is relative.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        let folder = self.file.parent().unwrap_or_else(|| Path::new(""));
        folder.join(path)
    }
}

/// A table of the file, or the empty one where the file has none: its defaults then apply and its required keys
/// are reported as missing.
#[derive(Debug)]
pub struct Table<'a> {
    context: &'a Context<'a>,
    entries: Option<&'a DeTable<'a>>,
    path: String,
    offset: Option<usize>,
    asked: RefCell<Vec<&'static str>>,
    /// Something else stands where this table should, which is an error of its own: say nothing about its keys.
    is_replaced: bool,
}

type Entry<'a> = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>);

impl<'a> Table<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        entries: Option<&'a DeTable<'a>>,
        path: String,
        offset: Option<usize>,
    ) -> Self {
        Self {
            context,
            entries,
            path,
            offset,
            asked: RefCell::default(),
            is_replaced: false,
        }
    }

    /// Whether the file has this table.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// Whether the file has `key` in this table.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.find_any(key).is_some()
    }

    /// Reads a key that must be there; `allowed` says what to write if it isn't.
    pub fn required<T>(
        &self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&Value<'a>) -> Result<T, Problem>,
    ) -> Option<T> {
        if self.find(key).is_none() {
            self.missing(key, allowed);
            return None;
        }
        self.optional(key, read)
    }

    /// Reads a key that may be left out: `None` if it is, or if its value was refused.
    pub fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Value<'a>) -> Result<T, Problem>,
    ) -> Option<T> {
        let (_, found) = self.find(key)?;
        let path = self.path_of(key);
        self.read(&path, found, read)
    }

    /// Reads a key that has a default value.
    pub fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value<'a>) -> Result<T, Problem>,
    ) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// Reads a list that may be left out, which is the same as an empty one.
    pub fn list<T>(
        &self,
        key: &'static str,
        mut read: impl FnMut(&Value<'a>) -> Result<T, Problem>,
    ) -> Vec<T> {
        let path = self.path_of(key);
        self.elements(key)
            .iter()
            .filter_map(|found| self.read(&path, found, &mut read))
            .collect()
    }

    /// Reads a list that must have an entry; `allowed` says what to write if it hasn't.
    pub fn required_list<T>(
        &self,
        key: &'static str,
        allowed: &str,
        read: impl FnMut(&Value<'a>) -> Result<T, Problem>,
    ) -> Vec<T> {
        self.want_entry(key, allowed);
        self.list(key, read)
    }

    /// An array of tables inside this one that must have an entry; `allowed` says what to write if it hasn't.
    #[must_use]
    pub fn required_tables(&self, key: &'static str, allowed: &str) -> Vec<Self> {
        self.want_entry(key, allowed);
        self.tables(key)
    }

    /// A table inside this one; empty if the file has none.
    #[must_use]
    pub fn table(&self, key: &'static str) -> Self {
        let path = self.path_of(key);
        let Some((_, found)) = self.find(key) else {
            return Self::new(self.context, None, path, None);
        };
        self.table_at(path, found)
    }

    /// An array of tables (`[[key]]`) inside this one; empty if the file has none.
    #[must_use]
    pub fn tables(&self, key: &'static str) -> Vec<Self> {
        let path = self.path_of(key);
        self.elements(key)
            .iter()
            .map(|found| self.table_at(path.clone(), found))
            .collect()
    }

    /// Notes that the value of `key` can't be used together with the rest.
    pub fn refuse(&self, key: &str, why: impl fmt::Display, allowed: impl Into<String>) {
        let span = self.find_any(key).map(|(_, value)| value.span());
        let span = span.or_else(|| self.offset.map(|offset| offset..offset));
        self.context
            .note(&self.path_of(key), span, Problem::invalid(why, allowed));
    }

    /// Notes that the value of `key` works but is probably not meant.
    pub fn warn(&self, key: &str, why: impl Into<String>, remedy: impl Into<String>) {
        let place = self.place(key);
        self.context
            .notes
            .borrow_mut()
            .warnings
            .push(ConfigWarning {
                place,
                why: why.into(),
                remedy: remedy.into(),
            });
    }

    /// Where `key` stands in the file, or else its table.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        let offset = self.find_any(key).map(|(_, value)| value.span().start);
        self.context
            .place(&self.path_of(key), offset.or(self.offset))
    }

    fn want_entry(&self, key: &'static str, allowed: &str) {
        match self.find(key) {
            None => self.missing(key, allowed),
            Some((_, found))
                if found
                    .get_ref()
                    .as_array()
                    .is_some_and(|list| list.is_empty()) =>
            {
                self.refuse(key, "is empty", allowed);
            }
            Some(_) => {}
        }
    }

    fn missing(&self, key: &str, allowed: &str) {
        if self.is_replaced {
            return;
        }
        let problem = Problem::Missing {
            allowed: allowed.to_owned(),
        };
        let at = self.offset.map(|offset| offset..offset);
        self.context.note(&self.path_of(key), at, problem);
    }

    fn read<T>(
        &self,
        path: &str,
        found: &'a Spanned<DeValue<'a>>,
        read: impl FnOnce(&Value<'a>) -> Result<T, Problem>,
    ) -> Option<T> {
        match read(&Value::new(self.context, path.to_owned(), found)) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.context.note(path, Some(found.span()), problem);
                None
            }
        }
    }

    fn elements(&self, key: &'static str) -> &'a [Spanned<DeValue<'a>>] {
        let Some((_, found)) = self.find(key) else {
            return &[];
        };
        let problem = match found.get_ref().as_array() {
            Some(list) if list.len() <= limits::CONFIG_LIST_MAX => return list,
            Some(_) => Problem::invalid(
                "has too many entries",
                format!("at most {}", limits::CONFIG_LIST_MAX),
            ),
            None => value::wrong_type("a list", found.get_ref()),
        };
        self.context
            .note(&self.path_of(key), Some(found.span()), problem);
        &[]
    }

    fn table_at(&self, path: String, found: &'a Spanned<DeValue<'a>>) -> Self {
        let offset = Some(found.span().start);
        let entries = found.get_ref().as_table();
        if entries.is_none() {
            let problem = value::wrong_type("a table", found.get_ref());
            self.context.note(&path, Some(found.span()), problem);
        }
        Self {
            context: self.context,
            entries,
            path,
            offset,
            asked: RefCell::default(),
            is_replaced: entries.is_none(),
        }
    }

    fn find(&self, key: &'static str) -> Option<Entry<'a>> {
        let path = self.path_of(key);
        let found = self.find_any(key);
        let mut notes = self.context.notes.borrow_mut();
        if found.is_some() {
            notes.present.insert(path.clone());
        }
        notes.allowed.insert(path);
        self.asked.borrow_mut().push(key);
        found
    }

    fn find_any(&self, key: &str) -> Option<Entry<'a>> {
        self.entries?.iter().find(|(name, _)| name.get_ref() == key)
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }
}

/// What no section asked for is not a key of this file.
impl Drop for Table<'_> {
    fn drop(&mut self) {
        let mut allowed = self.asked.take();
        allowed.sort_unstable();
        allowed.dedup();
        let entries = self.entries.into_iter().flat_map(|table| table.iter());
        for (name, _) in entries.filter(|(name, _)| !allowed.contains(&name.get_ref().as_ref())) {
            let problem = Problem::UnknownKey {
                suggestion: nearest(name.get_ref(), &allowed),
                allowed: allowed.clone(),
            };
            let path = self.path_of(name.get_ref());
            self.context.note_key(&path, name.span(), problem);
        }
    }
}
