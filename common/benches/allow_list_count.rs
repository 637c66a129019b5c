//! Instructions of one verdict against 10,000 rules, counted by valgrind: the same on every machine.
//!
//! Needs valgrind and `cargo install gungraun-runner` in the version of `gungraun` in `Cargo.lock`; then
//! `cargo bench -p common --bench allow_list_count`

#![expect(clippy::exit, unused_qualifications, reason = "the macros write them")]

use std::hint::black_box;

use common::testing::allow_list::{Scene, Shape, scene};
use gungraun::{library_benchmark, library_benchmark_group, main};

#[library_benchmark]
#[bench::many_origins(args = (Shape::ManyOrigins), setup = scene)]
#[bench::one_origin_exact(args = (Shape::OneOriginExact), setup = scene)]
#[bench::one_origin_prefixes(args = (Shape::OneOriginPrefixes), setup = scene)]
fn allow(scene: Scene) -> (bool, Scene) {
    let request = scene.allowed.request();
    let is_allowed = scene.list.verdict(black_box(&request)).is_allowed();
    // Handed back, so that taking the list apart isn't counted.
    (is_allowed, scene)
}

#[library_benchmark]
#[bench::many_origins(args = (Shape::ManyOrigins), setup = scene)]
#[bench::one_origin_exact(args = (Shape::OneOriginExact), setup = scene)]
#[bench::one_origin_prefixes(args = (Shape::OneOriginPrefixes), setup = scene)]
fn deny(scene: Scene) -> (bool, Scene) {
    let request = scene.wrong_path.request();
    let is_allowed = scene.list.verdict(black_box(&request)).is_allowed();
    (is_allowed, scene)
}

library_benchmark_group!(name = verdicts, benchmarks = [allow, deny]);
main!(library_benchmark_groups = verdicts);
