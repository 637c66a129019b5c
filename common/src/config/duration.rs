//! Durations as people write them: `250ms`, `30s`, `480m`, `8h`, `2d`. One number and one unit, nothing else.

use std::fmt;
use std::time::Duration;

use crate::limits;

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing but a number: 300 what?
    #[error("has no unit")]
    NoUnit,
    /// The number is missing, negative, has a fraction or does not fit.
    #[error("does not start with a whole number")]
    Number,
    /// Longer than [`limits::CONFIG_DURATION_MAX`].
    #[error("is too long")]
    TooLong,
    /// A unit other than those in [`UNITS`].
    #[error("has an unknown unit")]
    Unit,
}

/// What may be written, for error texts.
pub const ALLOWED: &str =
    "a whole number and a unit: ms, s, m, h or d (\"250ms\", \"30s\", \"8h\")";

/// Reads one number and one unit.
///
/// # Errors
/// [`DurationError`] if the text has another form.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or(DurationError::Number)?;
    let number: u64 = number.parse().map_err(|_| DurationError::Number)?;
    if unit.is_empty() {
        return Err(DurationError::NoUnit);
    }
    let (_, milliseconds) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(DurationError::Unit)?;
    number
        .checked_mul(*milliseconds)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= limits::CONFIG_DURATION_MAX)
        .ok_or(DurationError::TooLong)
}

/// Prints a duration in the largest unit that leaves no rest; below a millisecond it prints `0ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text(pub Duration);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let whole = |(_, size): &&(&str, u64)| milliseconds.is_multiple_of(u128::from(*size));
        match UNITS.iter().filter(|_| milliseconds > 0).find(whole) {
            Some((name, size)) => write!(f, "{}{name}", milliseconds / u128::from(*size)),
            None => write!(f, "{milliseconds}ms"),
        }
    }
}

/// Units with their length in milliseconds, the longest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_number_and_one_unit_make_a_duration() {
        for (text, seconds) in [
            ("300s", 300),
            ("8h", 28_800),
            ("480m", 28_800),
            ("2d", 172_800),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn everything_else_says_why_not() {
        for (text, error) in [
            ("", DurationError::Number),
            ("s", DurationError::Number),
            ("-1s", DurationError::Number),
            ("300", DurationError::NoUnit),
            ("1.5h", DurationError::Unit),
            ("1h30m", DurationError::Unit),
            ("1 h", DurationError::Unit),
            ("5S", DurationError::Unit),
            ("٣s", DurationError::Number),
            ("99999999999999999999s", DurationError::Number),
            ("18446744073709551615d", DurationError::TooLong),
            ("3661d", DurationError::TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn text_uses_the_largest_unit_without_a_rest() {
        for (text, shown) in [
            ("480m", "8h"),
            ("90m", "90m"),
            ("1000ms", "1s"),
            ("0s", "0ms"),
        ] {
            assert_eq!(Text(parse(text).unwrap()).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(milliseconds in 0_u64..300_000_000_000) {
            let duration = Duration::from_millis(milliseconds);

            prop_assert_eq!(parse(&Text(duration).to_string()), Ok(duration));
        }
    }
}
