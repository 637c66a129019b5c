//! Credentials that UCM accepted a while ago: a keyed hash of each, never the password.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use common::limits;
use common::net::Domain;
use common::policy::fading::Fading;
use common::runtime::clock;
use common::session::UserName;

use super::credentials::Credentials;
use crate::home_cluster::Home;
use crate::uds::answer::UserRecord;

/// A user whose password UCM has accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proved {
    pub(super) home: Arc<Home>,
    pub(super) record: UserRecord,
}

/// A keyed hash of a user name and a password.
pub(super) type Tag = [u8; 32];

/// The accepted credentials.
#[derive(Debug)]
pub(super) struct Proofs {
    /// Made at the start and never written anywhere, so that a copy of the memory's hashes alone can't be guessed at.
    key: hmac::Key,
    lifetime: Duration,
    accepted: Mutex<Accepted>,
}

#[derive(Debug)]
struct Accepted {
    /// The user id that each sign-in name stands for.
    ids: Fading<(Domain, UserName), UserName>,
    /// One password per user id: a new one that UCM accepts takes the old one's place, whatever name was used.
    users: Fading<(Domain, UserName), (Tag, Arc<Proved>)>,
}

/// There was no entropy for the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random key for the credential cache")]
pub struct EntropyError;

impl Proofs {
    pub(super) fn new(lifetime: Duration) -> Result<Self, EntropyError> {
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| EntropyError)?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            lifetime,
            accepted: Mutex::new(Accepted {
                ids: Fading::new(limits::SIGN_IN_USERS_MAX),
                users: Fading::new(limits::SIGN_IN_USERS_MAX),
            }),
        })
    }

    /// The proof of these credentials, if UCM accepted them recently.
    pub(super) fn look_up(
        &self,
        domain: &Domain,
        credentials: &Credentials,
    ) -> Option<Arc<Proved>> {
        let now = clock::now();
        let accepted = self.lock();
        let alias = (domain.clone(), credentials.login.clone());
        let (_, id) = accepted.ids.get(&alias, now)?;
        let (_, (tag, proved)) = accepted.users.get(&(domain.clone(), id.clone()), now)?;
        let message = message(id, credentials);
        hmac::verify(&self.key, &message, tag).ok()?;
        Some(Arc::clone(proved))
    }

    /// Notes that UCM accepted these credentials.
    pub(super) fn accept(&self, domain: &Domain, credentials: &Credentials, proved: &Arc<Proved>) {
        if self.lifetime.is_zero() {
            return;
        }
        let now = clock::now();
        let end = now + self.lifetime;
        let id = &proved.home.user;
        let tag = self.tag(id, credentials);
        let mut accepted = self.lock();
        let alias = (domain.clone(), credentials.login.clone());
        accepted.ids.renew(alias, end, id.clone(), now);
        let user = (domain.clone(), id.clone());
        let proof = (tag, Arc::clone(proved));
        accepted.users.renew(user, end, proof, now);
    }

    /// Notes that UCM no longer accepts what it accepted of `id`.
    pub(super) fn forget(&self, domain: &Domain, id: &UserName) {
        self.lock().users.remove(&(domain.clone(), id.clone()));
    }

    /// A hash by which equal credentials under proof are recognised.
    pub(super) fn tag(&self, user: &UserName, credentials: &Credentials) -> Tag {
        let tag = hmac::sign(&self.key, &message(user, credentials));
        tag.as_ref().try_into().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Accepted> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name and password, told apart by a byte that neither can hold.
fn message(user: &UserName, credentials: &Credentials) -> zeroize::Zeroizing<Vec<u8>> {
    let mut message = zeroize::Zeroizing::new(user.as_str().to_lowercase().into_bytes());
    message.push(0);
    message.extend_from_slice(credentials.password.reveal().as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use common::redact::Secret;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(28_800);

    #[tokio::test(start_paused = true)]
    async fn good_credentials_are_known_for_their_lifetime() {
        let (proofs, domain) = proofs(LIFETIME);
        proofs.accept(&domain, &credentials("alice", "secret"), &proved("alice"));

        tokio::time::advance(Duration::from_secs(28_799)).await;
        assert!(
            proofs
                .look_up(&domain, &credentials("ALICE", "secret"))
                .is_some()
        );
        assert!(
            proofs
                .look_up(&domain, &credentials("alice", "Secret"))
                .is_none()
        );
        assert!(
            proofs
                .look_up(&domain, &credentials("bob", "secret"))
                .is_none()
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(
            proofs
                .look_up(&domain, &credentials("alice", "secret"))
                .is_none()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_password_takes_the_old_ones_place_under_every_name() {
        let (proofs, domain) = proofs(LIFETIME);
        let user = proved("alice");
        proofs.accept(&domain, &credentials("alice", "old"), &user);
        proofs.accept(&domain, &credentials("alice@example.com", "new"), &user);

        for name in ["alice", "alice@example.com"] {
            assert!(proofs.look_up(&domain, &credentials(name, "old")).is_none());
            assert!(proofs.look_up(&domain, &credentials(name, "new")).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn domains_are_apart_and_forgotten_users_are_gone() {
        let (proofs, domain) = proofs(LIFETIME);
        let good = credentials("alice", "secret");
        proofs.accept(&domain, &good, &proved("alice"));

        assert!(
            proofs
                .look_up(&Domain::parse("other.example").unwrap(), &good)
                .is_none()
        );
        proofs.forget(&domain, &UserName::parse("Alice").unwrap());
        assert!(proofs.look_up(&domain, &good).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn without_lifetime_nothing_is_kept() {
        let (proofs, domain) = proofs(Duration::ZERO);
        let good = credentials("alice", "secret");

        proofs.accept(&domain, &good, &proved("alice"));

        assert!(proofs.look_up(&domain, &good).is_none());
    }

    fn proofs(lifetime: Duration) -> (Proofs, Domain) {
        (
            Proofs::new(lifetime).unwrap(),
            Domain::parse("example.com").unwrap(),
        )
    }

    fn credentials(login: &str, password: &str) -> Credentials {
        Credentials {
            login: UserName::parse(login).unwrap(),
            password: Secret::new(password.to_owned()),
        }
    }

    fn proved(id: &str) -> Arc<Proved> {
        Arc::new(Proved {
            home: Arc::new(Home {
                user: UserName::parse(id).unwrap(),
                node: "a1.example.com:8443".parse().unwrap(),
                nodes: Vec::new(),
            }),
            record: UserRecord::default(),
        })
    }
}
