//! Writes a throw-away PKI into a folder.

fn main() {}
