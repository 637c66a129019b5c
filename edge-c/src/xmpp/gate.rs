//! Who may try to sign in: with a session gate, only users who have a live HTTPS session.

use std::net::IpAddr;

use common::net::Domain;
use common::session::UserName;
use common::time::UnixTime;

use crate::sessions::Sessions;

/// Whether XMPP needs a live HTTPS session of the same user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionGate {
    /// It does not.
    #[default]
    Off,
    /// The user must be signed in from anywhere.
    User,
    /// The user must be signed in from the address of the stream.
    UserAndAddress,
}

/// May this user's attempt go on to the node? One whose mechanism names no user may not, where that is asked for.
#[must_use]
pub fn admits(
    gate: SessionGate,
    sessions: &Sessions,
    user: Option<&str>,
    domain: &Domain,
    client: IpAddr,
    now: UnixTime,
) -> bool {
    let address = match gate {
        SessionGate::Off => return true,
        SessionGate::User => None,
        SessionGate::UserAndAddress => Some(client),
    };
    let user = user.unwrap_or_default();
    names(user, domain).any(|name| sessions.is_signed_in(&name, address, now))
}

/// The names under which an XMPP user may be signed in over HTTPS: as it is, without the domain, and with it.
pub fn names(user: &str, domain: &Domain) -> impl Iterator<Item = UserName> + use<> {
    let other = match user.rsplit_once('@') {
        // Somebody of another domain is another user.
        Some((local, of)) => of
            .eq_ignore_ascii_case(domain.as_str())
            .then(|| local.to_owned()),
        None => Some(format!("{user}@{domain}")),
    };
    let names = [Some(user.to_owned()), other].into_iter().flatten();
    names.filter_map(|name| UserName::parse(&name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(user: &str) -> Vec<String> {
        let domain = Domain::parse("example.com").unwrap();
        names(user, &domain)
            .map(|name| name.as_str().to_owned())
            .collect()
    }

    #[test]
    fn a_user_is_known_with_the_domain_and_without_it() {
        assert_eq!(named("alice"), ["alice", "alice@example.com"]);
        assert_eq!(named("alice@Example.com"), ["alice@Example.com", "alice"]);
        assert_eq!(named("alice@other.test"), ["alice@other.test"]);
        assert!(!named("").contains(&String::new()));
    }
}
