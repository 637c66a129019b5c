//! The edge-c binary.

fn main() {}
