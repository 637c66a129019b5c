//! Verdicts against 10,000 rules, and the reading of targets: time and allocations.
//!
//! `cargo bench -p common --bench allow_list`

use std::hint::black_box;

use common::http::target::Target;
use common::testing::allow_list::{SHAPES, Shape, scene};
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = SHAPES)]
fn allow(bencher: Bencher<'_, '_>, shape: Shape) {
    let scene = scene(shape);
    let request = scene.allowed.request();
    bencher.bench(|| scene.list.verdict(black_box(&request)).is_allowed());
}

#[divan::bench(args = SHAPES)]
fn deny_path(bencher: Bencher<'_, '_>, shape: Shape) {
    let scene = scene(shape);
    let request = scene.wrong_path.request();
    bencher.bench(|| scene.list.verdict(black_box(&request)).is_allowed());
}

#[divan::bench(args = SHAPES)]
fn deny_origin(bencher: Bencher<'_, '_>, shape: Shape) {
    let scene = scene(shape);
    let request = scene.wrong_origin.request();
    bencher.bench(|| scene.list.verdict(black_box(&request)).is_allowed());
}

#[divan::bench(args = [
    "/cucm-uds/user/alice%40example.com/devices?max=100",
    "/cucm-uds//user/./%61lice/x/../devices?max=100",
])]
fn read_target(raw: &str) -> bool {
    Target::parse(black_box(raw)).is_ok()
}
