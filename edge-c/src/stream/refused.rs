//! Refusals: what the client gets, and what the log says of it.

use common::limits;
use common::link::preface::{self, Preface};
use common::mra::access::{Realm, Refusal};
use common::redact::Redacted;
use common::runtime::body::Body;
use http::header::{CONNECTION, WWW_AUTHENTICATE};
use http::{HeaderMap, Response};

use crate::sessions::{IssueError, StoreError};

/// A refusal on its way to the client, and what the log says of it.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) reason: String,
    pub(super) remedy: String,
    /// Counts against the client's address.
    pub(super) is_wrong_guess: bool,
    pub(super) challenge: Challenge,
}

/// What a client that must sign in is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A password.
    #[default]
    Password,
    /// A password or a token.
    PasswordOrToken,
    /// Another token than the one it has shown, of which this is wrong.
    Token(&'static str),
}

impl Refused {
    pub(super) fn new(
        refusal: Refusal,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            refusal,
            reason: reason.into(),
            remedy: remedy.into(),
            is_wrong_guess: false,
            challenge: Challenge::default(),
        }
    }

    /// Nobody can say now: the client keeps what it has and comes again.
    fn later(reason: String, remedy: &str) -> Self {
        let refusal = Refusal::Overloaded {
            retry_after: limits::LINK_DOWN_RETRY_AFTER,
        };
        Self::new(refusal, reason, remedy)
    }

    /// Writes the one line of the log, and what the client gets.
    pub(super) fn response(&self, preface: Preface, realm: &Realm) -> Response<Body> {
        let Self {
            refusal,
            reason,
            remedy,
            is_wrong_guess,
            challenge,
        } = self;
        let client = Redacted::new(preface.client.0.ip().to_string());
        tracing::info!(
            tracking_id = %preface.tracking, side = refusal.side().label(), reason, remedy,
            status = refusal.status().as_u16(), %client, "refused"
        );
        let mut response = refusal.response(realm).map(|()| Body::empty());
        let fields = response.headers_mut();
        if *refusal == Refusal::SignInRequired {
            challenge.write(realm, fields);
        }
        // Whether the client's connection ends is edge-e's business; the link's must not.
        fields.remove(CONNECTION);
        if *is_wrong_guess {
            fields.insert(preface::AUTH, preface::AUTH_FAILED);
        }
        fields.insert(preface::TRACKING, preface::value(&preface.tracking));
        response
    }
}

impl Challenge {
    fn write(self, realm: &Realm, fields: &mut HeaderMap) {
        match self {
            Self::Password => {}
            // Clients that know passwords alone look at the first.
            Self::PasswordOrToken => {
                if let Some(bearer) = realm.bearer_challenge(None) {
                    fields.append(WWW_AUTHENTICATE, bearer);
                }
            }
            Self::Token(fault) => {
                if let Some(bearer) = realm.bearer_challenge(Some(fault)) {
                    fields.insert(WWW_AUTHENTICATE, bearer);
                }
            }
        }
    }
}

/// Whether the session lives is not known.
impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::later(error.to_string(), STORE_REMEDY)
    }
}

/// A session can't begin.
impl From<IssueError> for Refused {
    fn from(error: IssueError) -> Self {
        let remedy = match &error {
            IssueError::Seal(_) | IssueError::TooLarge => "look at the session store's state_dir",
            IssueError::Store(_) => STORE_REMEDY,
        };
        Self::later(error.to_string(), remedy)
    }
}

const STORE_REMEDY: &str =
    "look at the server that [session.redis] names, and at the network to it";

/// Nobody but the client can mend it.
pub(super) const CLIENT: &str = "none: the client is at fault";
