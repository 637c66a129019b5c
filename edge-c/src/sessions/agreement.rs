//! What several edge-c have to agree on beside the sessions: who refreshes a token, how often a password was tried, which
//! addresses are refused, which filter keys are in use, which nodes are inside, who is there. A single edge-c agrees with itself.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use common::id::CoreId;
use common::net::Domain;
use common::policy::jail::{Ban, UserTag};
use common::policy::rate_limit::Quota;
use common::time::UnixTime;
use tokio::sync::watch;

pub(super) use self::alone::Alone;
use super::key_ring::KeyRing;
use super::named::NamedNode;
use super::store::{StoreError, StoreFuture};

mod alone;

/// Under what a refresh or a login count is known to all nodes: a keyed hash, which names nobody.
pub(super) type AgreedKey = [u8; 32];

/// Who holds something: random, so that nobody else's is given back.
pub(super) type Holder = [u8; 16];

/// How a refresh stands, to one who wants to begin it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The request has gone to the issuer, and the answer is not there yet.
    Departed,
    /// Somebody else has it, and has not sent anything.
    Held,
    /// The sealed answer.
    Landed(Vec<u8>),
    /// Nobody had it: it is the asker's now. The number rises with each claim of the store.
    Yours(u64),
}

/// How a refresh goes on, said by who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The request goes out now.
    Departed,
    /// This is the sealed answer.
    Landed(Vec<u8>),
    /// Nothing was sent: somebody else may.
    Released,
}

/// One count of logins: the attempts of one device, or of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoginCount {
    pub(super) key: AgreedKey,
    pub(super) quota: Quota,
}

/// What a node tells the others of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnNode {
    /// The edges whose link to it stands.
    pub(super) edges: BTreeSet<Domain>,
}

/// The nodes that share a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Whose sessions this node can serve: every node that was there within the longest lifetime of a session, itself
    /// included. Empty without a shared store, and while that is away for too long.
    pub cores: BTreeSet<CoreId>,
    /// How many are there now.
    pub live: usize,
    /// The edges to which a link of any other node stands.
    pub edges: BTreeSet<Domain>,
    /// The longest lifetime of a session on any of them.
    pub lifetime_max: Duration,
}

/// See the module.
pub(super) trait Agreement: fmt::Debug + Send + Sync {
    /// Asks for the one refresh under `key`.
    fn claim(&self, key: AgreedKey, holder: Holder) -> StoreFuture<'_, Result<Claim, StoreError>>;

    /// Says how a refresh goes on; `false` if it isn't `holder`'s any more.
    fn progress(
        &self,
        key: AgreedKey,
        holder: Holder,
        progress: Progress,
    ) -> StoreFuture<'_, Result<bool, StoreError>>;

    /// Counts one login everywhere, or tells after which time there is room for it. Only what other nodes know: the
    /// caller has its own counts.
    fn count_login(
        &self,
        counts: [LoginCount; 2],
        holder: Holder,
    ) -> StoreFuture<'_, Result<Option<Duration>, StoreError>>;

    /// Takes a count back.
    fn excuse_login(
        &self,
        counts: [LoginCount; 2],
        holder: Holder,
    ) -> StoreFuture<'_, Result<(), StoreError>>;

    /// Has an address, or a user there, refused at every edge.
    fn ban(&self, ban: Ban) -> StoreFuture<'_, Result<(), StoreError>>;

    /// Who is refused now.
    fn bans(&self) -> Vec<Ban>;

    /// Whether everybody at an address is refused, or this user.
    fn is_banned(&self, network: IpAddr, user: Option<UserTag>, now: UnixTime) -> bool;

    /// Tells the others of nodes inside, as far as they don't know them.
    fn name_nodes(&self, named: Vec<NamedNode>) -> StoreFuture<'_, Result<(), StoreError>>;

    /// Puts `next` in the place of `current` if that is what all use; gives the ring that all use then.
    fn roll(&self, current: KeyRing, next: KeyRing)
    -> StoreFuture<'_, Result<KeyRing, StoreError>>;

    /// The ring that all use, whenever another node has changed it.
    fn ring(&self) -> watch::Receiver<Option<KeyRing>>;

    /// Tells the others of this node.
    fn tell(&self, own: OwnNode);

    /// The nodes there are.
    fn nodes(&self) -> watch::Receiver<Arc<Nodes>>;

    /// Whether what is known can be relied on.
    fn state(&self) -> StoreState;
}

/// Whether a shared store answers. Without one it always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It has been silent for longer than [`common::limits::STORE_GRACE`]: nothing known is relied on.
    Away,
    /// It is silent: known sessions go on, nothing new begins.
    ReadOnly,
    /// It answers.
    Up,
}
