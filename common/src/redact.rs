//! Types whose value never reaches a log.
//!
//! [`Redacted`] prints a short keyed hash, so that two log lines about one user can be matched
//! without naming the user; [`Secret`] prints nothing at all. Neither hides a value from code.
//!
//! Without the key nobody who reads a log can try names and addresses until a hash fits. It is that of the installation
//! where there is one ([`set_key`]), and random for this process otherwise.

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::{hmac, rand};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `None` if the system has no random numbers: then nothing is printed, rather than something that can be guessed.
static KEY: OnceLock<Option<hmac::Key>> = OnceLock::new();

/// Takes the key of all hashes from now on; `false` if a hash was printed before, under a key of its own.
pub fn set_key(key: &Secret<[u8; 32]>) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.reveal());
    KEY.set(Some(key)).is_ok()
}

fn key() -> Option<&'static hmac::Key> {
    let own = || {
        let mut octets = [0; 32];
        let drawn = rand::fill(&mut octets);
        drawn
            .ok()
            .map(|()| hmac::Key::new(hmac::HMAC_SHA256, &octets))
    };
    KEY.get_or_init(own).as_ref()
}

/// Personal data: prints the first 4 bytes of its HMAC-SHA-256 in hexadecimal, never the value.
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
        let Some(key) = key() else {
            return f.write_str("~--------");
        };
        let hash = hmac::sign(key, self.0.as_ref());
        f.write_str("~")?;
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
    fn whoever_has_no_key_can_not_find_a_name_by_its_hash() {
        use aws_lc_rs::digest;

        let unkeyed = digest::digest(&digest::SHA256, b"alice");
        let [a, b, c, d, ..] = unkeyed.as_ref() else {
            panic!("a hash has 32 octets");
        };
        let printed = Redacted::new("alice").to_string();
        assert_ne!(printed, format!("~{a:02x}{b:02x}{c:02x}{d:02x}"));
        assert_eq!(printed.len(), 9);

        let late = set_key(&Secret::new([7; 32]));
        assert!(!late, "a hash was printed before");
        assert_eq!(Redacted::new("alice").to_string(), printed);
    }

    #[test]
    fn a_secret_prints_nothing() {
        assert_eq!(
            format!("{:?}", Secret::new("hunter2".to_owned())),
            "[secret]"
        );
    }
}
