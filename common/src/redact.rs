//! Types whose value never reaches a log.
//!
//! [`Redacted`] prints a short stable hash, so that two log lines about one user can be matched
//! without naming the user; [`Secret`] prints nothing at all. Neither hides a value from code.

use std::fmt;

use aws_lc_rs::digest;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Personal data: prints the first 4 bytes of its SHA-256 in hexadecimal, never the value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for code that must act on it.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = digest::digest(&digest::SHA256, self.0.as_ref());
        write!(f, "~")?;
        hash.as_ref()
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<T: AsRef<[u8]>> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key, password or token: prints `[secret]` and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that must send or compare it.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_value_prints_a_stable_hash_and_never_itself() {
        let one = Redacted::new("alice");
        let two = Redacted::new("alice");

        assert_eq!(one.to_string(), two.to_string());
        assert!(!format!("{one:?}").contains("alice"));
        assert_ne!(one.to_string(), Redacted::new("bob").to_string());
    }

    #[test]
    fn a_secret_prints_nothing() {
        assert_eq!(
            format!("{:?}", Secret::new("hunter2".to_owned())),
            "[secret]"
        );
    }
}
