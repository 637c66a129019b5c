//! The command line.

pub mod allow_list;
