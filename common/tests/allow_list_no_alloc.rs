//! Proves that neither a verdict nor the reading of a normal target allocates, however many rules there are.

use std::hint::black_box;

use allocation_counter::measure;
use common::http::target::Target;
use common::testing::allow_list::{SHAPES, scene};

#[test]
fn a_verdict_allocates_nothing() {
    for shape in SHAPES {
        let scene = scene(shape);
        for question in [&scene.allowed, &scene.wrong_path, &scene.wrong_origin] {
            let request = question.request();

            let counted = measure(|| {
                black_box(scene.list.verdict(black_box(&request)));
            });

            assert_eq!(counted.count_total, 0, "{shape:?}");
        }
    }
}

#[test]
fn a_normal_target_is_read_without_allocating() {
    let raw = "/cucm-uds/user/alice%40example.com/devices?max=100";

    let counted = measure(|| {
        black_box(Target::parse(black_box(raw))).ok();
    });

    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_counter_counts() {
    let counted = measure(|| {
        black_box(Target::parse(black_box("/%61"))).ok();
    });

    assert!(counted.count_total > 0);
}
