//! What goes into [`Sessions`](super::Sessions) and comes out of it. Values only.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::id::CoreId;
#[cfg(doc)]
use common::limits;
use common::mra::cookie::{CookieValue, FilterKeys, Tombstone};
use common::net::{ClientAddr, Deployment, Domain, Host};
use common::policy::jail::Ban;
use common::redact::{Redacted, Secret};
use common::session::{DeviceName, HomeCluster, Method, Session, SessionId, UserName};
use common::time::UnixTime;
use http::HeaderValue;
use tokio::sync::{broadcast, watch};

use super::agreement::Nodes;
use super::seal::SealError;
use super::shared::SharedConfig;
use super::store::{PageMark, StoreError};

/// What the operator decides about sessions.
#[derive(Clone, Debug)]
pub struct Config {
    /// The number of this core.
    pub core: CoreId,
    /// How long a session lasts, at most [`limits::SESSION_LIFETIME_MAX`]; zero makes sessions that are over at once.
    pub lifetime: Duration,
    /// The cookie's domain; if not set, the parent domain of the edge-e that the client came through.
    pub cookie_domain: Option<Domain>,
    /// Where sessions outlive the process.
    pub state: State,
    /// The store that this edge-c shares with others, if it does.
    pub shared: Option<SharedConfig>,
}

/// Where sessions outlive the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// In a directory of this edge-c's own.
    Directory {
        /// The directory; made if missing.
        path: PathBuf,
        /// The state key, `state.key` in the directory if not set; made if missing. On another file system, a stolen
        /// directory opens nothing at all.
        key_file: Option<PathBuf>,
    },
    /// Nowhere: a restart signs everybody out.
    Memory,
}

/// A user who has proved who they are.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Who.
    pub user: UserName,
    /// Through which of the configured domains.
    pub domain: Domain,
    /// Whose rules and nodes apply.
    pub deployment: Deployment,
    /// Where the user lives.
    pub home: HomeCluster,
    /// How that was proved.
    pub method: Method,
    /// On which device, if the client said so.
    pub device: Option<DeviceName>,
    /// From where.
    pub client: ClientAddr,
    /// The user's own nodes: where the credential may go.
    pub nodes: Vec<Host>,
    /// The value of `Authorization` to use there, if it is to be kept.
    pub credential: Option<Secret<String>>,
    /// The name of the edge-e that the client came through.
    pub edge_name: Domain,
    /// When it ends at the latest: with the token that began it, for instance.
    pub until: Option<UnixTime>,
}

/// A session that began, and what the client needs to come back to it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The cookie.
    pub cookie: CookieValue,
    /// The `Set-Cookie` value.
    pub set_cookie: HeaderValue,
    /// The record.
    pub session: Arc<Session>,
}

/// Why no session began.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// No random octets, or the credential could not be sealed.
    #[error("no cookie can be made: {0}")]
    Seal(#[from] SealError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More nodes, or a longer credential, than [`limits`] allows.
    #[error("the user's nodes or credential are over the limit")]
    TooLarge,
}

/// What a listing shows of a session. Its user prints as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Under what it can be revoked.
    pub id: SessionId,
    /// Who.
    pub user: Redacted<String>,
    /// Through which domain.
    pub domain: Domain,
    /// How that was proved.
    pub method: Method,
    /// On which device; prints as a hash.
    pub device: Option<DeviceName>,
    /// Since when.
    pub created: UnixTime,
    /// Until when.
    pub expires: UnixTime,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most [`limits::SESSION_PAGE_MAX`], the soonest to expire first.
    pub sessions: Vec<Listed>,
    /// Where the next page begins, if there may be more.
    pub next: Option<PageMark>,
}

/// All that an edge-e needs to know when it joins.
#[derive(Clone, Debug)]
pub struct FilterState {
    /// The keys of this core.
    pub keys: FilterKeys,
    /// The sessions that were revoked, at most [`limits::TOMBSTONES_MAX`].
    pub tombstones: Vec<Tombstone>,
    /// The addresses that some edge refuses, at most [`limits::BANS_MAX`], and users, at most [`limits::USER_BANS_MAX`].
    pub bans: Vec<Ban>,
}

/// What changes after that. A receiver that lags asks for the whole [`FilterState`] again.
#[derive(Debug)]
pub struct FilterFeed {
    /// The keys, whenever they roll.
    pub keys: watch::Receiver<FilterKeys>,
    /// Each revoked session, within the moment it is revoked. Streams of that session end too.
    pub tombstones: broadcast::Receiver<Tombstone>,
    /// Each address, or user there, that some edge begins to refuse.
    pub bans: broadcast::Receiver<Ban>,
    /// The nodes that share the store.
    pub nodes: watch::Receiver<Arc<Nodes>>,
}

/// A revocation that isn't on disk or not known everywhere: it holds here and now, a restart may undo it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} sessions are revoked here, but: {why}")]
pub struct RevokeError {
    /// How many sessions ended.
    pub count: usize,
    /// What went wrong.
    pub why: StoreError,
}
