//! Metrics resolved ahead of use: counting on the way of a request is one indexed atomic addition, without a lock and
//! without hashing labels. Every series of a closed label exists from the start, as alerts on increases need it.

use std::fmt;
use std::marker::PhantomData;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::label::Label;

/// What a registry takes.
pub trait MetricKind:
    EncodeMetric + TypedMetric + Clone + Send + Sync + fmt::Debug + 'static
{
}

impl<M: EncodeMetric + TypedMetric + Clone + Send + Sync + fmt::Debug + 'static> MetricKind for M {}

type Pairs<const N: usize> = [(&'static str, &'static str); N];

/// One metric for each value of a label. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct ByLabel<L, M> {
    cells: Vec<M>,
    /// For an index that can't be: counts nowhere instead of panicking.
    nowhere: M,
    label: PhantomData<L>,
}

impl<L: Label, M: MetricKind> ByLabel<L, M> {
    /// Registers a metric of every value of `L`; `new` makes one.
    pub fn register_with(registry: &mut Registry, name: &str, help: &str, new: fn() -> M) -> Self {
        let family = Family::<Pairs<1>, M>::new_with_constructor(new);
        let cell = |value: &L| cell(&family, [(L::NAME, value.as_str())]);
        let cells = L::ALL.iter().map(cell).collect();
        registry.register(name, help, family);
        Self {
            cells,
            nowhere: new(),
            label: PhantomData,
        }
    }

    /// The metric of one value.
    #[must_use]
    pub fn of(&self, value: L) -> &M {
        self.cells.get(value.index()).unwrap_or(&self.nowhere)
    }
}

impl<L: Label, M: MetricKind + Default> ByLabel<L, M> {
    /// Registers a counter or gauge for every value of `L`.
    pub fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        Self::register_with(registry, name, help, M::default)
    }
}

/// One metric for each pair of values of two labels. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct ByLabels<A, B, M> {
    cells: Vec<M>,
    nowhere: M,
    labels: PhantomData<(A, B)>,
}

impl<A: Label, B: Label, M: MetricKind + Default> ByLabels<A, B, M> {
    /// Registers a counter or gauge for every pair of values.
    pub fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        let family = Family::<Pairs<2>, M>::default();
        let pairs = A::ALL
            .iter()
            .flat_map(|a| B::ALL.iter().map(move |b| (a, b)));
        let cells =
            pairs.map(|(a, b)| cell(&family, [(A::NAME, a.as_str()), (B::NAME, b.as_str())]));
        let cells = cells.collect();
        registry.register(name, help, family);
        Self {
            cells,
            nowhere: M::default(),
            labels: PhantomData,
        }
    }

    /// The metric of one pair.
    #[must_use]
    pub fn of(&self, a: A, b: B) -> &M {
        let index = a.index() * B::ALL.len() + b.index();
        self.cells.get(index).unwrap_or(&self.nowhere)
    }
}

/// Metrics by a name that configuration chose: a peer, a node, a certificate, a rule. Take the metric once and keep it.
#[derive(Clone, Debug)]
pub struct Named<M> {
    label: &'static str,
    family: Family<Vec<(&'static str, String)>, M>,
}

impl<M: MetricKind + Default> Named<M> {
    /// Registers metrics by the label `label`.
    pub fn register(registry: &mut Registry, name: &str, help: &str, label: &'static str) -> Self {
        let family = Family::default();
        registry.register(name, help, family.clone());
        Self { label, family }
    }

    /// The metric of `name`; takes a lock and hashes.
    #[must_use]
    pub fn of(&self, name: &str) -> M {
        let labels = vec![(self.label, name.to_owned())];
        self.family.get_or_create(&labels).clone()
    }

    /// The metric of `name` and a value of another label; takes a lock and hashes.
    #[must_use]
    pub fn of_both<L: Label>(&self, name: &str, value: L) -> M {
        let labels = vec![
            (self.label, name.to_owned()),
            (L::NAME, value.as_str().to_owned()),
        ];
        self.family.get_or_create(&labels).clone()
    }

    /// Forgets every metric, such as before a reload names others.
    pub fn clear(&self) {
        self.family.clear();
    }
}

/// Registers a counter.
#[must_use]
pub fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// Registers a gauge.
#[must_use]
pub fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Seconds from a millisecond to a minute: what people notice, and what deadlines cut.
#[must_use]
pub fn seconds() -> Histogram {
    const BOUNDS: [f64; 14] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
    ];
    Histogram::new(BOUNDS)
}

fn cell<const N: usize, M: MetricKind>(
    family: &Family<Pairs<N>, M, fn() -> M>,
    pairs: Pairs<N>,
) -> M {
    family.get_or_create(&pairs).clone()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    crate::label! {
        enum Colour as "colour" {
            Red = "red",
            Blue = "blue",
        }
    }

    crate::label! {
        enum Size as "size" {
            Big = "big",
            Small = "small",
            Tiny = "tiny",
        }
    }

    fn page(registry: &Registry) -> String {
        let mut page = String::new();
        text::encode(&mut page, registry).unwrap();
        page
    }

    #[test]
    fn every_value_of_a_label_is_there_before_it_is_counted() {
        let mut registry = Registry::default();
        let seen = ByLabel::<Colour, Counter>::register(&mut registry, "seen", "Seen");

        seen.of(Colour::Blue).inc();

        let page = page(&registry);
        assert!(page.contains("seen_total{colour=\"red\"} 0\n"));
        assert!(page.contains("seen_total{colour=\"blue\"} 1\n"));
    }

    #[test]
    fn pairs_do_not_run_into_one_another() {
        let mut registry = Registry::default();
        let seen = ByLabels::<Colour, Size, Gauge>::register(&mut registry, "seen", "Seen");
        let pairs = || {
            Colour::ALL
                .iter()
                .flat_map(|c| Size::ALL.iter().map(move |s| (*c, *s)))
        };

        for (number, (colour, size)) in (0_i64..).zip(pairs()) {
            seen.of(colour, size).set(number);
        }

        let page = page(&registry);
        for (number, (colour, size)) in (0_i64..).zip(pairs()) {
            let line = format!("seen{{colour=\"{colour}\",size=\"{size}\"}} {number}\n");
            assert!(page.contains(&line), "{line}{page}");
        }
    }

    #[test]
    fn names_of_configuration_make_one_series_each() {
        let mut registry = Registry::default();
        let up = Named::<Gauge>::register(&mut registry, "up", "Up", "peer");

        up.of("edge1").set(1);
        up.of_both("edge2", Size::Big).set(3);
        assert!(page(&registry).contains("up{peer=\"edge1\"} 1\n"));
        assert!(page(&registry).contains("up{peer=\"edge2\",size=\"big\"} 3\n"));

        up.clear();
        assert!(!page(&registry).contains("edge1"));
    }
}
