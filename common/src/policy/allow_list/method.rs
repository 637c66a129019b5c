//! Sets of request methods: a bit for each common one, a short list for the rest.

use std::fmt;

use crate::limits;

/// Why a name can't stand in a rule's methods.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// Methods are case-sensitive (RFC 9110 section 9.1), so `get` would never match.
    #[error("methods are case-sensitive: write \"{0}\"")]
    LetterCase(&'static str),
    /// `CONNECT` and `TRACE` are never passed on.
    #[error("this method is never passed on, so no rule can allow it")]
    Never,
    /// Not a token (RFC 9110 section 5.6.2).
    #[error("is not the name of a method")]
    NotAToken,
    /// Over [`limits::ALLOW_LIST_METHOD_BYTES_MAX`].
    #[error("is longer than {max} octets", max = limits::ALLOW_LIST_METHOD_BYTES_MAX)]
    TooLong,
    /// Over [`limits::ALLOW_LIST_METHODS_MAX`].
    #[error("more than {max} methods in one set", max = limits::ALLOW_LIST_METHODS_MAX)]
    TooMany,
}

/// A set of request methods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodSet {
    /// Bit n stands for `KNOWN[n]`.
    known: u8,
    /// Sorted, none of them in `KNOWN`.
    other: Box<[Box<str>]>,
}

impl MethodSet {
    /// What a rule allows if neither it nor the file says otherwise: `GET`, `HEAD`, `OPTIONS`.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            known: ["GET", "HEAD", "OPTIONS"]
                .into_iter()
                .filter_map(known_bit)
                .fold(0, |set, bit| set | bit),
            other: Box::default(),
        }
    }

    /// Makes a set of the names in `names`; the same name twice counts once.
    ///
    /// # Errors
    /// [`MethodError`] for the first name that can't stand in a rule.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, MethodError> {
        let mut known = 0;
        let mut other = Vec::new();
        for (count, name) in names.into_iter().enumerate() {
            if count >= limits::ALLOW_LIST_METHODS_MAX {
                return Err(MethodError::TooMany);
            }
            check(name)?;
            match known_bit(name) {
                Some(bit) => known |= bit,
                None => other.push(Box::from(name)),
            }
        }
        other.sort_unstable();
        other.dedup();
        Ok(Self {
            known,
            other: other.into(),
        })
    }

    /// Whether `method` is in the set, compared with letter case.
    #[must_use]
    pub fn contains(&self, method: &str) -> bool {
        known_bit(method).map_or_else(
            || self.other.iter().any(|other| other.as_ref() == method),
            |bit| self.known & bit != 0,
        )
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known == 0 && self.other.is_empty()
    }

    /// The names, the common ones first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let known = KNOWN
            .into_iter()
            .filter(|name| known_bit(name).is_some_and(|bit| self.known & bit != 0));
        known.chain(self.other.iter().map(AsRef::as_ref))
    }
}

/// Comma-separated, as the CSV files have it.
impl fmt::Display for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().enumerate().try_for_each(|(at, name)| {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}")
        })
    }
}

/// The name of one method in a rule or a test.
///
/// # Errors
/// [`MethodError`] if no rule could have it.
pub fn check(name: &str) -> Result<(), MethodError> {
    if name.len() > limits::ALLOW_LIST_METHOD_BYTES_MAX {
        return Err(MethodError::TooLong);
    }
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(MethodError::NotAToken);
    }
    if name.eq_ignore_ascii_case("CONNECT") || name.eq_ignore_ascii_case("TRACE") {
        return Err(MethodError::Never);
    }
    let common = KNOWN
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name));
    match common {
        Some(known) if known != name => Err(MethodError::LetterCase(known)),
        Some(_) | None => Ok(()),
    }
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

fn known_bit(name: &str) -> Option<u8> {
    match name {
        "GET" => Some(1),
        "HEAD" => Some(1 << 1),
        "OPTIONS" => Some(1 << 2),
        "POST" => Some(1 << 3),
        "PUT" => Some(1 << 4),
        "DELETE" => Some(1 << 5),
        "PATCH" => Some(1 << 6),
        _ => None,
    }
}

const KNOWN: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_its_members_in_their_letter_case() {
        let set = MethodSet::parse(["PROPFIND", "GET", "PUT", "GET"]).unwrap();

        assert!(set.contains("GET") && set.contains("PUT") && set.contains("PROPFIND"));
        assert!(!set.contains("get") && !set.contains("propfind") && !set.contains("POST"));
        assert_eq!(set.to_string(), "GET, PUT, PROPFIND");
        assert_eq!(MethodSet::standard().to_string(), "GET, HEAD, OPTIONS");
    }

    #[test]
    fn every_common_method_has_a_bit_of_its_own() {
        for name in KNOWN {
            let set = MethodSet::parse([name]).unwrap();

            assert_eq!(set.iter().collect::<Vec<_>>(), [name]);
            assert!(set.other.is_empty());
        }
    }

    #[test]
    fn names_that_no_rule_can_have_say_why() {
        for (name, error) in [
            ("get", MethodError::LetterCase("GET")),
            ("CONNECT", MethodError::Never),
            ("trace", MethodError::Never),
            ("", MethodError::NotAToken),
            ("GET POST", MethodError::NotAToken),
            ("*,", MethodError::NotAToken),
        ] {
            assert_eq!(MethodSet::parse([name]), Err(error), "{name}");
        }
        let long = "X".repeat(limits::ALLOW_LIST_METHOD_BYTES_MAX + 1);
        assert_eq!(MethodSet::parse([long.as_str()]), Err(MethodError::TooLong));
        let many = vec!["GET"; limits::ALLOW_LIST_METHODS_MAX + 1];
        assert_eq!(MethodSet::parse(many), Err(MethodError::TooMany));
    }
}
