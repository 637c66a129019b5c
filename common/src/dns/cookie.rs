//! Server cookies (RFC 9018): who sends the cookie back is where he says he is. The servers of a cluster share the keys.

use std::net::IpAddr;

use domain::base::Serial;
use domain::base::opt::cookie::{ClientCookie, Cookie, ServerCookie, StandardServerCookie};

use crate::limits;
use crate::redact::Secret;
use crate::time::UnixTime;

/// Keys that cookies are checked with; new ones are made with the first.
#[derive(Clone, Debug)]
pub struct CookieKeys(Vec<Secret<[u8; 16]>>);

/// Why a text is no list of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieKeysError {
    /// A line that is not a key.
    #[error("line {0} is not a key of 32 hexadecimal digits")]
    Line(usize),
    /// None, or too many.
    #[error("has no key, or more than {}", limits::DNS_COOKIE_KEYS_MAX)]
    Count,
}

/// What a cookie option says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The client got this cookie here, at this address, and not long ago.
    pub is_valid: bool,
    /// The option's value in the answer.
    pub reply: [u8; COOKIE_BYTES],
}

/// The client's 8 octets and the server's 16.
pub const COOKIE_BYTES: usize = 24;

impl CookieKeys {
    /// One key for a server that shares it with nobody.
    #[must_use]
    pub fn of_one(key: [u8; 16]) -> Self {
        Self(vec![Secret::new(key)])
    }

    /// Reads keys of 32 hexadecimal digits each, one in a line; `#` begins a comment. A key is rolled in three steps (RFC 9018
    /// section 5): a new one is added at the end everywhere, then put first everywhere, then the old one is taken away.
    ///
    /// # Errors
    /// [`CookieKeysError`] naming the line.
    pub fn parse(text: &str) -> Result<Self, CookieKeysError> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let key =
                hexadecimal(line).ok_or_else(|| CookieKeysError::Line(number.saturating_add(1)))?;
            keys.push(Secret::new(key));
            if keys.len() > limits::DNS_COOKIE_KEYS_MAX {
                return Err(CookieKeysError::Count);
            }
        }
        if keys.is_empty() {
            return Err(CookieKeysError::Count);
        }
        Ok(Self(keys))
    }

    /// Puts a new key in front of the one that was, whose cookies stay good; all older ones are forgotten.
    #[must_use]
    pub fn rolled(&self, key: [u8; 16]) -> Self {
        let new = std::iter::once(Secret::new(key));
        Self(new.chain(self.0.iter().take(1).cloned()).collect())
    }

    /// Checks the value of a cookie option, which has 8 or 16 to 40 octets, and makes that of the answer.
    #[must_use]
    pub fn check(&self, option: &[u8], client: IpAddr, now: UnixTime) -> Option<Checked> {
        let (octets, server) = option.split_first_chunk::<8>()?;
        let client_cookie = ClientCookie::from_octets(*octets);
        let first = self.0.first()?;
        // Serial numbers: the clock wraps in 2106, and so may the cookies.
        let now = u32::try_from(now.0 & u64::from(u32::MAX)).unwrap_or(0);
        let is_valid = self.is_ours(client_cookie, server, client, now);
        let made =
            StandardServerCookie::calculate(client_cookie, Serial(now), client, first.reveal());
        let mut reply = [0; COOKIE_BYTES];
        let (front, back) = reply.split_first_chunk_mut::<8>()?;
        *front = *octets;
        let server: ServerCookie = made.into();
        back.copy_from_slice(server.as_ref());
        Some(Checked { is_valid, reply })
    }

    fn is_ours(&self, cookie: ClientCookie, server: &[u8], client: IpAddr, now: u32) -> bool {
        // Another length is another server's, which is no reason to refuse the client.
        if server.len() != 16 {
            return false;
        }
        let cookie = Cookie::new(cookie, Some(ServerCookie::from_octets(server)));
        self.0.iter().any(|key| {
            cookie.check_server_hash(client, key.reveal(), |made| is_fresh(made.into_int(), now))
        })
    }
}

/// RFC 9018 section 4.3: an hour into the past, five minutes into the future.
const fn is_fresh(made: u32, now: u32) -> bool {
    let age = now.wrapping_sub(made);
    age <= limits::DNS_COOKIE_AGE_MAX_SECONDS
        || age.wrapping_neg() <= limits::DNS_COOKIE_FUTURE_MAX_SECONDS
}

fn hexadecimal(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9018 appendix A.1 and A.2.
    const KEY: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const CLIENT: [u8; 8] = [0x24, 0x64, 0xc4, 0xab, 0xcf, 0x10, 0xc9, 0x57];
    const MADE: UnixTime = UnixTime(1_559_731_985);

    fn address() -> IpAddr {
        [198, 51, 100, 100].into()
    }

    fn keys(text: &str) -> CookieKeys {
        CookieKeys::parse(text).unwrap()
    }

    fn made() -> [u8; COOKIE_BYTES] {
        keys(KEY).check(&CLIENT, address(), MADE).unwrap().reply
    }

    #[test]
    fn the_cookie_of_the_standard_is_made() {
        let hex: String = made().iter().map(|byte| format!("{byte:02x}")).collect();

        assert_eq!(hex, "2464c4abcf10c957010000005cf79f111f8130c3eee29480");
    }

    #[test]
    fn a_cookie_is_good_for_an_hour_at_its_address() {
        let at = |seconds: i64| UnixTime(MADE.0.checked_add_signed(seconds).unwrap());
        let good = |cookie: &[u8], from: IpAddr, seconds| {
            keys(KEY).check(cookie, from, at(seconds)).unwrap().is_valid
        };

        assert!(good(&made(), address(), 0));
        assert!(good(&made(), address(), 3600));
        assert!(!good(&made(), address(), 3601));
        assert!(good(&made(), address(), -300));
        assert!(!good(&made(), address(), -301));
        assert!(!good(&made(), [198, 51, 100, 101].into(), 0));
        assert!(!good(&CLIENT, address(), 0));
        let mut forged = made();
        forged[23] ^= 1;
        assert!(!good(&forged, address(), 0));
        let longer = [made().as_slice(), b"x"].concat();
        assert!(!good(&longer, address(), 0));
    }

    #[test]
    fn a_rolled_key_checks_what_the_one_before_made() {
        let old = keys(KEY);
        let one_roll = old.rolled([1; 16]);
        let two_rolls = one_roll.rolled([2; 16]);
        let is_good = |keys: &CookieKeys| keys.check(&made(), address(), MADE).unwrap().is_valid;

        assert!(is_good(&one_roll));
        assert!(!is_good(&two_rolls));
        assert_ne!(
            one_roll.check(&CLIENT, address(), MADE).unwrap().reply,
            made()
        );
    }

    #[test]
    fn keys_are_read_line_by_line() {
        let two = keys(&format!(
            "# of the cluster\n{}\n\n{KEY} # the old one\n",
            "ab".repeat(16)
        ));

        assert!(two.check(&made(), address(), MADE).unwrap().is_valid);
        for (text, error) in [
            ("", CookieKeysError::Count),
            ("\n00", CookieKeysError::Line(2)),
            ("+0000000000000000000000000000000", CookieKeysError::Line(1)),
            (&format!("{KEY}\n").repeat(5), CookieKeysError::Count),
        ] {
            assert_eq!(CookieKeys::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
