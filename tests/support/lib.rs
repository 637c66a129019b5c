//! What end-to-end tests and benchmarks share.
