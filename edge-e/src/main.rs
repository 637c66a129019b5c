//! The edge-e binary.

fn main() {}
