//! Figures of a comparison: what they are called, which way is better, and what is asked of them.

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// What it is, with its unit.
    pub label: &'static str,
    /// For programs; one of its own.
    pub key: &'static str,
    /// Digits after the point.
    pub digits: usize,
    /// Whether more of it is better, or less.
    pub is_more_better: bool,
    /// What the ratio to the better peer must be: at least where more is better, else at most.
    pub goal: Option<f64>,
}

impl Figure {
    /// One of which more is better.
    #[must_use]
    pub const fn more(label: &'static str, key: &'static str, digits: usize) -> Self {
        Self {
            label,
            key,
            digits,
            is_more_better: true,
            goal: None,
        }
    }

    /// One of which less is better.
    #[must_use]
    pub const fn less(label: &'static str, key: &'static str, digits: usize) -> Self {
        Self {
            is_more_better: false,
            ..Self::more(label, key, digits)
        }
    }

    /// With that goal.
    #[must_use]
    pub const fn goal(self, goal: f64) -> Self {
        Self {
            goal: Some(goal),
            ..self
        }
    }
}

/// Several values of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle, or between the two middles.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// `None` of nothing.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (lower, upper) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
        Some(Self {
            min: *sorted.first()?,
            median: f64::midpoint(*sorted.get(lower)?, *sorted.get(upper)?),
            max: *sorted.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        let odd = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
        let even = Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();

        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!((even.median, even.min, even.max), (2.5, 1.0, 4.0));
        assert_eq!(Spread::of(&[]), None);
    }
}
