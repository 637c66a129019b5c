//! What the fuzz targets in `tests/fuzz` call: one function for each target, taking the raw bytes. The same functions
//! replay the committed corpora in an ordinary test, so a new target is: a function here, a line in [`TARGETS`], a
//! one-line file in `tests/fuzz/fuzz_targets`, a folder in `tests/fuzz/corpus`.
//!
//! A function returns on input that it has nothing to say about and panics on a broken promise.

mod allow_list;
mod http_target;

pub use allow_list::allow_list;
pub use http_target::http_target;

/// A fuzz target: raw bytes in, a panic if a promise is broken.
pub type Target = fn(&[u8]);

/// Every target that needs nothing but this crate, by the name of its file and its corpus.
pub const TARGETS: [(&str, Target); 2] = [("allow_list", allow_list), ("http_target", http_target)];
