//! Who may try to sign in: with a session gate, only users who have a live HTTPS session.

use std::collections::BTreeSet;
use std::net::IpAddr;

use common::net::Domain;
use common::policy::jail::UserTag;
use common::session::UserName;
use common::time::UnixTime;
use common::xmpp::sasl::Attempt;

use super::streams::Owner;
use crate::sessions::Sessions;
use crate::tokens::TokenVerifier;

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

/// May the user of this attempt try because an issuer says who it is, and until when is that so, `latest` at most? The token
/// must be good now, by keys at hand, and for whom the attempt is. It says nothing of addresses.
#[must_use]
pub fn admits_token(
    gate: SessionGate,
    tokens: &TokenVerifier,
    attempt: &Attempt,
    domain: &Domain,
    latest: UnixTime,
) -> Option<UnixTime> {
    let (SessionGate::User, Some(token), Some(user)) = (gate, &attempt.token, &attempt.user) else {
        return None;
    };
    match tokens.verify_now(domain, token.reveal()) {
        Ok(accepted) => is_same(user, &accepted.user, domain)
            .then(|| accepted.until.map_or(latest, |until| until.min(latest))),
        Err(refused) => {
            tracing::debug!(side = "downstream", %domain, reason = %refused, "a token opens no XMPP");
            None
        }
    }
}

/// Whether a user who is in may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Nothing is asked of the user.
    Always,
    /// Neither a session nor a token is left.
    Over,
    /// One of them lasts until then.
    Until(UnixTime),
}

/// May the owner of a stream stay, by the session or token that lasts longest?
#[must_use]
pub fn stay(gate: SessionGate, sessions: &Sessions, owner: &Owner, now: UnixTime) -> Stay {
    let (SessionGate::User | SessionGate::UserAndAddress, Some(user)) = (gate, &owner.user) else {
        return Stay::Always;
    };
    let ends = names(user, &owner.domain).map(|name| sessions.signed_in_until(&name, now));
    let token = owner.token_ends.filter(|end| *end > now);
    let latest = ends.chain([token]).flatten().max();
    latest.map_or(Stay::Over, Stay::Until)
}

/// Whose guess a refused attempt was, if it was one; `Some(None)` is nobody's. A token that has expired, or is good for all that
/// is known here, was not guessed; one that somebody made up says nothing of its user.
#[must_use]
pub fn guess(
    attempt: &Attempt,
    domain: &Domain,
    tokens: Option<&TokenVerifier>,
) -> Option<Option<UserTag>> {
    let Some(token) = &attempt.token else {
        let user = attempt.user.as_deref();
        return Some(user.map(|user| tag(user, domain)));
    };
    let verdict = tokens?.verify_now(domain, token.reveal());
    verdict
        .is_err_and(|error| error.is_forged())
        .then_some(None)
}

/// Does an edge-e refuse the user of this attempt at the client's address? A token is nobody's guess.
#[must_use]
pub fn is_banned(
    sessions: &Sessions,
    attempt: &Attempt,
    domain: &Domain,
    client: IpAddr,
    now: UnixTime,
) -> bool {
    let user = attempt.user.as_deref().filter(|_| attempt.token.is_none());
    user.is_some_and(|user| sessions.is_banned(client, tag(user, domain), now))
}

/// What a user is counted by: the same with the domain and without it, as over HTTPS.
fn tag(user: &str, domain: &Domain) -> UserTag {
    let own = user
        .rsplit_once('@')
        .filter(|(_, of)| of.eq_ignore_ascii_case(domain.as_str()));
    UserTag::of(own.map_or(user, |(local, _)| local))
}

/// Whether an XMPP user is who an issuer has named, each with the domain or without it.
fn is_same(user: &str, named: &UserName, domain: &Domain) -> bool {
    let named = BTreeSet::from_iter(names(named.as_str(), domain));
    names(user, domain).any(|name| named.contains(&name))
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

    #[test]
    fn a_user_is_counted_once_however_the_name_is_written() {
        let domain = Domain::parse("example.com").unwrap();

        assert_eq!(tag("Alice@EXAMPLE.com", &domain), UserTag::of("alice"));
        assert_ne!(tag("alice@other.test", &domain), UserTag::of("alice"));
    }

    #[test]
    fn a_token_is_for_its_own_user_with_the_domain_or_without_it() {
        let domain = Domain::parse("example.com").unwrap();
        let is_for = |user, named| is_same(user, &UserName::parse(named).unwrap(), &domain);

        assert!(is_for("alice", "alice") && is_for("alice", "alice@example.com"));
        assert!(is_for("alice@example.com", "alice"));
        assert!(!is_for("bob", "alice") && !is_for("", "alice"));
        assert!(!is_for("alice", "alice@other.test"));
        assert!(!is_for("alice@other.test", "alice"));
    }
}
