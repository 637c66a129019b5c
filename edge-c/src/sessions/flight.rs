//! One refresh of a token at a time, among all edge-c that share a store: an issuer that rotates refresh tokens takes the
//! second use of one for theft, and revokes the newer one too.
//!
//! Asks no issuer and knows no token's meaning: whoever relays a refresh takes a [`Turn`] first.
//!
//! ```text
//! refresh_turn(token) ─▶ Yours ─▶ depart ─▶ (the issuer) ─▶ land(answer)
//!                    └─▶ Landed(answer): somebody else has just done it
//! ```
//!
//! The token itself is not stored: the flight is known by a keyed hash of it, and the answer is sealed under a key that is
//! derived from the token and edge-c's key together, for [`limits::REFRESH_ANSWER_LIFETIME`].

use common::limits;
use common::redact::Secret;
use tokio::time::{Instant, sleep};

use super::agreement::{AgreedKey, Claim, Holder, Progress};
use super::random::draw;
use super::seal::{SealError, Sealer};
use super::store::StoreError;
use super::{Inner, Sessions};

/// Why nobody may refresh now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    /// The request went to the issuer and the answer got lost, here or on another edge-c: the token must not be used
    /// again, the user signs in anew.
    #[error("the token was sent to the issuer, and its answer is not known")]
    InDoubt,
    /// The answer can't be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What whoever asks for a turn gets.
#[derive(Debug)]
pub enum Turn {
    /// The answer of a refresh of the same token that has just been made.
    Landed(Secret<String>),
    /// The right to refresh. Nobody else has it.
    Yours(Flight),
}

/// The right to refresh one token. Dropped before [`Flight::depart`], it passes on within
/// [`limits::REFRESH_CLAIM_LIFETIME`]; after that, everybody else hears [`TurnError::InDoubt`].
#[derive(Debug)]
pub struct Flight {
    sessions: Sessions,
    key: AgreedKey,
    holder: Holder,
    sealer: Sealer,
    fence: u64,
}

impl Sessions {
    /// Waits for the turn to refresh `token`, at most [`limits::REFRESH_WAIT_MAX`].
    ///
    /// # Errors
    /// [`TurnError`]; the token must not be sent to the issuer then.
    pub async fn refresh_turn(&self, token: &Secret<String>) -> Result<Turn, TurnError> {
        let Inner {
            state_key,
            agreement,
            random,
            ..
        } = &*self.0;
        let key = state_key.tag(FLIGHT_LABEL, token.reveal().as_bytes())?;
        let sealer = state_key.sealer_with(token.reveal().as_bytes(), ANSWER_LABEL)?;
        let holder = draw(random.as_ref()).map_err(SealError::from)?;
        let deadline = Instant::now() + limits::REFRESH_WAIT_MAX;
        loop {
            let is_late = Instant::now() >= deadline;
            match agreement.claim(key, holder).await? {
                Claim::Yours(fence) => {
                    return Ok(Turn::Yours(Flight {
                        sessions: self.clone(),
                        key,
                        holder,
                        sealer,
                        fence,
                    }));
                }
                Claim::Landed(sealed) => return open(&sealer, &key, &sealed).map(Turn::Landed),
                Claim::Departed | Claim::Held if is_late => return Err(TurnError::InDoubt),
                Claim::Departed | Claim::Held => sleep(limits::REFRESH_POLL_INTERVAL).await,
            }
        }
    }
}

impl Flight {
    /// A number that is higher than that of every earlier flight.
    #[must_use]
    pub const fn fence(&self) -> u64 {
        self.fence
    }

    /// Notes that the token is about to be sent. To be called right before it is.
    ///
    /// # Errors
    /// [`TurnError`] if the turn is over; the token must not be sent then.
    pub async fn depart(&self) -> Result<(), TurnError> {
        self.progress(Progress::Departed).await
    }

    /// Gives the issuer's answer to whoever else asks with the same token.
    ///
    /// # Errors
    /// [`TurnError`] if they can't get it; the answer is good all the same.
    pub async fn land(self, answer: &Secret<String>) -> Result<(), TurnError> {
        let random = self.sessions.0.random.as_ref();
        let sealed = self
            .sealer
            .seal(&self.key, answer.reveal().as_bytes(), random)?;
        self.progress(Progress::Landed(sealed)).await
    }

    /// Lets somebody else try at once: the issuer never got the token.
    ///
    /// # Errors
    /// [`TurnError`] if the store does not hear of it; the turn passes on by itself later.
    pub async fn release(self) -> Result<(), TurnError> {
        self.progress(Progress::Released).await
    }

    async fn progress(&self, progress: Progress) -> Result<(), TurnError> {
        let agreement = &self.sessions.0.agreement;
        let is_own = agreement.progress(self.key, self.holder, progress).await?;
        if is_own {
            Ok(())
        } else {
            Err(TurnError::InDoubt)
        }
    }
}

fn open(sealer: &Sealer, key: &AgreedKey, sealed: &[u8]) -> Result<Secret<String>, TurnError> {
    let octets = sealer.open(key, sealed)?;
    std::str::from_utf8(&octets)
        .map(|text| Secret::new(text.to_owned()))
        .map_err(|_| TurnError::Seal(SealError::Opening))
}

const FLIGHT_LABEL: &[u8] = b"edge-c refresh flight 1";
const ANSWER_LABEL: &[u8] = b"edge-c refresh answer 1";
