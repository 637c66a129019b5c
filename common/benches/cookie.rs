//! What a request's cookie costs: on edge-e the filter, on the way to an origin the removal.
#![expect(clippy::unwrap_used, reason = "a benchmark of known values")]

use common::id::CoreId;
use common::mra::cookie::{
    CookieValue, Filter, FilterKey, FilterKeys, KeyId, SessionId, Tombstone, strip_fields,
};
use common::time::UnixTime;
use divan::{Bencher, black_box};
use http::HeaderMap;
use http::header::COOKIE;

fn main() {
    divan::main();
}

const NOW: UnixTime = UnixTime(1_800_000_000);

fn issue(random: [u8; 18]) -> CookieValue {
    let key_id = KeyId {
        core: CoreId(3),
        generation: 1,
    };
    let expiry = UnixTime(1_800_028_800);
    CookieValue::issue(&FilterKey::new([3; 32]), key_id, expiry, random)
}

/// Eight cores and 10,000 revoked sessions.
fn filter() -> Filter {
    let mut filter = Filter::default();
    for core in 1..=8 {
        filter.set_keys(FilterKeys {
            core: CoreId(core),
            latest: (1, FilterKey::new([core; 32])),
            earlier: Some((0, FilterKey::new([core + 100; 32]))),
        });
    }
    for number in 0..10_000_u64 {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        filter.revoke(Tombstone {
            id: SessionId(id),
            until: UnixTime(1_800_010_000 + number),
        });
    }
    filter
}

fn fields(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(COOKIE, value.parse().unwrap())])
}

#[divan::bench]
fn check_good(bencher: Bencher<'_, '_>) {
    let (filter, text) = (filter(), issue([1; 18]).text());
    bencher.bench(|| filter.check(black_box(&text), NOW));
}

#[divan::bench]
fn check_forged(bencher: Bencher<'_, '_>) {
    let filter = filter();
    let mut text = issue([1; 18]).text();
    text.replace_range(63.., "_");
    bencher.bench(|| filter.check(black_box(&text), NOW));
}

#[divan::bench]
fn check_junk(bencher: Bencher<'_, '_>) {
    let filter = filter();
    bencher.bench(|| filter.check(black_box("junk"), NOW));
}

#[divan::bench]
fn check_request_among_others(bencher: Bencher<'_, '_>) {
    let filter = filter();
    let fields = fields(&format!(
        "JSESSIONID=0123456789ABCDEF; X-Auth={}; theme=dark",
        issue([1; 18]).text()
    ));
    bencher.bench(|| filter.check_request(black_box(&fields), NOW).is_ok());
}

/// The same search with the `cookie` crate, for comparison.
#[divan::bench]
fn find_with_cookie_crate(bencher: Bencher<'_, '_>) {
    let value = format!(
        "JSESSIONID=0123456789ABCDEF; X-Auth={}; theme=dark",
        issue([1; 18]).text()
    );
    bencher.bench(|| {
        cookie::Cookie::split_parse(black_box(&value))
            .flatten()
            .find(|cookie| cookie.name() == "X-Auth")
            .is_some()
    });
}

#[divan::bench]
fn find_among_others(bencher: Bencher<'_, '_>) {
    let fields = fields(&format!(
        "JSESSIONID=0123456789ABCDEF; X-Auth={}; theme=dark",
        issue([1; 18]).text()
    ));
    bencher.bench(|| {
        common::mra::cookie::candidates(black_box(&fields))
            .next()
            .is_some()
    });
}

#[divan::bench]
fn strip_only_ours(bencher: Bencher<'_, '_>) {
    let fields = fields(&format!("X-Auth={}", issue([1; 18]).text()));
    bencher
        .with_inputs(|| fields.clone())
        .bench_values(|mut fields| {
            strip_fields(&mut fields);
            fields
        });
}

#[divan::bench]
fn strip_among_others(bencher: Bencher<'_, '_>) {
    let fields = fields(&format!(
        "JSESSIONID=0123456789ABCDEF; X-Auth={}; theme=dark",
        issue([1; 18]).text()
    ));
    bencher
        .with_inputs(|| fields.clone())
        .bench_values(|mut fields| {
            strip_fields(&mut fields);
            fields
        });
}
