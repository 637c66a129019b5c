//! What goes into the store and comes out of it, sealed. Nobody who reads the store learns who is signed in, from where, or
//! which address was refused; nobody who writes into it can make a session.

use std::net::IpAddr;
use std::sync::Arc;

use common::id::CoreId;
use common::mra::cookie::Tombstone;
use common::policy::jail::{Ban, UserTag};
use common::session::{Session, SessionId};
use common::time::UnixTime;

use super::super::agreement::AgreedKey;
use super::super::key_ring::KeyRing;
use super::super::named::{NamedNode, NodeEntry};
use super::super::random::Random;
use super::super::seal::{SealError, Sealer, StateKey};
use super::super::store::StoreError;

/// Seals and opens.
#[derive(Debug)]
pub(super) struct Records {
    key: StateKey,
    sealer: Sealer,
    random: Arc<dyn Random>,
}

/// One change, as another node told it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// An address is refused, or a user there.
    Ban(Ban),
    /// A session had to go.
    Evicted(SessionId),
    /// A node is inside.
    Named(NamedNode),
    /// There are other filter keys.
    Ring,
    /// A session is over.
    Revoked(Tombstone),
    /// A session began.
    Session(SessionId),
    /// Of a later version, or damaged.
    Unknown,
}

impl Records {
    pub(super) fn new(key: StateKey, random: Arc<dyn Random>) -> Result<Self, SealError> {
        Ok(Self {
            sealer: key.sealer(b"edge-c shared store 1")?,
            key,
            random,
        })
    }

    pub(super) fn seal_session(&self, session: &Session) -> Result<Vec<u8>, StoreError> {
        let plain = session.encode().map_err(unusable)?;
        self.seal(&session.id.0, &plain)
    }

    /// `None` if it was altered, is another session's, or of another version.
    pub(super) fn open_session(&self, id: SessionId, sealed: &[u8]) -> Option<Arc<Session>> {
        let plain = self.sealer.open(&id.0, sealed).ok()?;
        Session::decode(id, &plain).ok().map(Arc::new)
    }

    pub(super) fn seal_ring(&self, ring: &KeyRing) -> Result<Vec<u8>, StoreError> {
        let plain = ring.encode().ok_or_else(|| unusable("the filter keys"))?;
        self.seal(RING, &plain)
    }

    pub(super) fn open_ring(&self, sealed: &[u8], core: CoreId) -> Option<KeyRing> {
        let plain = self.sealer.open(RING, sealed).ok()?;
        KeyRing::decode(&plain).map(|ring| ring.used_by(core))
    }

    pub(super) fn seal_ban(&self, ban: Ban) -> Result<(AgreedKey, Vec<u8>), StoreError> {
        // What is older than users in it takes such a ban for damaged, and not for one of everybody there.
        let whom = match ban.user {
            None => ban.network.to_string(),
            Some(user) => format!("{} {}", ban.network, String::from(user)),
        };
        let tag = self.key.tag(BAN, whom.as_bytes()).map_err(unusable)?;
        let plain = format!("{} {whom}", ban.until);
        Ok((tag, self.seal(BAN, plain.as_bytes())?))
    }

    pub(super) fn open_ban(&self, sealed: &[u8]) -> Option<Ban> {
        let plain = self.sealer.open(BAN, sealed).ok()?;
        let (until, whom) = std::str::from_utf8(&plain).ok()?.split_once(' ')?;
        let (network, user) = match whom.split_once(' ') {
            None => (whom, None),
            Some((network, user)) => (network, Some(UserTag::try_from(user.to_owned()).ok()?)),
        };
        Some(Ban {
            network: network.parse::<IpAddr>().ok()?,
            user,
            until: UnixTime(until.parse().ok()?),
        })
    }

    pub(super) fn seal_node(&self, named: &NamedNode) -> Result<(AgreedKey, Vec<u8>), StoreError> {
        let timeless = NamedNode {
            until: UnixTime(0),
            ..named.clone()
        };
        let name = serde_json::to_vec(&NodeEntry::from(&timeless)).map_err(unusable)?;
        let tag = self.key.tag(NODE, &name).map_err(unusable)?;
        let plain = serde_json::to_vec(&NodeEntry::from(named)).map_err(unusable)?;
        Ok((tag, self.seal(NODE, &plain)?))
    }

    pub(super) fn open_node(&self, sealed: &[u8]) -> Option<NamedNode> {
        let plain = self.sealer.open(NODE, sealed).ok()?;
        serde_json::from_slice::<NodeEntry>(&plain).ok()?.read()
    }

    pub(super) fn seal_probe(&self) -> Result<Vec<u8>, StoreError> {
        self.seal(PROBE, PROBE)
    }

    /// Whether the state key is the one that made `sealed`.
    pub(super) fn is_own_probe(&self, sealed: &[u8]) -> bool {
        self.sealer.open(PROBE, sealed).is_ok()
    }

    /// Reads an entry of the news: fields and values by turns.
    pub(super) fn read_news(&self, fields: &[Vec<u8>]) -> News {
        let [_, kind, _, value] = fields else {
            return News::Unknown;
        };
        let read = match kind.as_slice() {
            b"b" => self.open_ban(value).map(News::Ban),
            b"n" => self.open_node(value).map(News::Named),
            b"r" => Some(News::Ring),
            b"s" => session_id(value).map(News::Session),
            b"t" => read_tombstone(value).map(News::Revoked),
            b"x" => session_id(value).map(News::Evicted),
            _ => None,
        };
        read.unwrap_or(News::Unknown)
    }

    fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let sealed = self.sealer.seal(place, plain, self.random.as_ref());
        sealed.map_err(unusable)
    }
}

pub(super) fn session_id(octets: &[u8]) -> Option<SessionId> {
    octets.try_into().ok().map(SessionId)
}

fn read_tombstone(octets: &[u8]) -> Option<Tombstone> {
    let (id, until) = octets.split_at_checked(32)?;
    Some(Tombstone {
        id: session_id(id)?,
        until: UnixTime(std::str::from_utf8(until).ok()?.parse().ok()?),
    })
}

fn unusable(why: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("what is to be stored can't be sealed: {why}"))
}

const RING: &[u8] = b"ring";
const BAN: &[u8] = b"ban";
const NODE: &[u8] = b"node";
const PROBE: &[u8] = b"edge-c shares its sessions here";
