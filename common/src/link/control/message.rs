//! What the edges tell each other on the control stream: edge-c commands, edge-e reports.

use serde::{Deserialize, Serialize};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::id::CoreId;
use crate::limits;
pub use crate::link::control::media::{MediaCommand, MediaRefusal, MediaReport};
use crate::mra::cookie::{FilterKey, FilterKeys, Tombstone};
use crate::net::Domain;
use crate::policy::jail::Ban;
use crate::redact::Secret;

/// From edge-c to edge-e. Each is idempotent: applied twice it does what it does once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Addresses that another edge refuses.
    Ban {
        /// Which, and until when.
        bans: Vec<Ban>,
    },
    /// Users at an address that another edge refuses. Apart, since an edge that is older would refuse everybody there.
    BanUsers {
        /// Which, and until when; each names a user.
        bans: Vec<Ban>,
    },
    /// Sends nothing new to this core; requests under way go on.
    Drain,
    /// The other edges of the cluster. Replaces what was said before.
    Edges {
        /// Each that the core dials, this one too.
        edges: Vec<EdgeState>,
    },
    /// The keys that cookies of this core verify with. Replaces what was said before.
    FilterKeys {
        /// Newest first, two at most.
        keys: Vec<FilterKeyMessage>,
        /// Other cores whose cookies verify with them too, since they share a store with this one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also_of: Vec<CoreId>,
    },
    /// About the media of calls.
    Media(MediaCommand),
    /// What edge-e needs to answer for the core's domains. Replaces what was said before.
    Policy(Policy),
    /// Sessions that are over before their time.
    Revoke {
        /// Which, and until when they would have lived.
        sessions: Vec<Tombstone>,
    },
}

/// How an edge is seen by an edge-c.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeState {
    /// The name that clients use for it.
    pub name: Domain,
    /// Whether its link stands and it does not drain.
    pub is_live: bool,
}

/// From edge-e to edge-c.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum Report {
    /// This edge has begun to refuse an address.
    Banned(Ban),
    /// edge-e is shutting down: it takes no new clients.
    Draining,
    /// About the media of calls.
    Media(MediaReport),
    /// This edge has begun to refuse a user at an address.
    UserBanned(Ban),
}

/// A filter key on its way to edge-e. It checks cookies; it can't make sessions, because edge-c looks each up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterKeyMessage {
    /// Which of that core's keys.
    pub generation: u8,
    /// 32 bytes in base64.
    #[serde(with = "secret_text")]
    pub key: Secret<String>,
}

/// What edge-e may answer by itself for a core, and what it lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Realm of the Basic challenge.
    pub realm: String,
    /// The domains the core serves.
    pub domains: Vec<DomainPolicy>,
    /// The XMPP domains the core serves; an edge that is older than this field knows of none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xmpp_domains: Vec<Domain>,
    /// Other cores whose sessions it can serve in their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serves_sessions_of: Vec<CoreId>,
}

/// A domain the core serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainPolicy {
    /// Its name.
    pub name: Domain,
    /// The whole answer to `get_edge_sso`.
    pub sso_document: String,
    /// Whether `get_edge_sso` goes to the core instead, which asks the home cluster.
    #[serde(default)]
    pub is_sso_asked: bool,
    /// Whether pages of an issuer of tokens are relayed.
    #[serde(default)]
    pub is_sso_relayed: bool,
}

impl Command {
    /// The commands that hand what other edges refuse to edge-e, each of [`limits::BANS_PER_MESSAGE`] at most.
    #[must_use]
    pub fn ban_all(bans: &[Ban]) -> Vec<Self> {
        let (users, addresses): (Vec<Ban>, Vec<Ban>) =
            bans.iter().partition(|ban| ban.user.is_some());
        let of = |chunk: &[Ban]| chunk.to_vec();
        let addresses = addresses.chunks(limits::BANS_PER_MESSAGE);
        let users = users.chunks(limits::BANS_PER_MESSAGE);
        let addresses = addresses.map(|chunk| Self::Ban { bans: of(chunk) });
        let users = users.map(|chunk| Self::BanUsers { bans: of(chunk) });
        addresses.chain(users).collect()
    }

    /// The command that hands a core's filter keys to edge-e; they are those of `also_of` too.
    #[must_use]
    pub fn filter_keys(keys: &FilterKeys, also_of: Vec<CoreId>) -> Self {
        let message = |(generation, key): &(u8, FilterKey)| FilterKeyMessage {
            generation: *generation,
            key: Secret::new(STANDARD.encode(key.reveal())),
        };
        let earlier = keys.earlier.as_ref().map(message);
        Self::FilterKeys {
            keys: std::iter::once(message(&keys.latest))
                .chain(earlier)
                .collect(),
            also_of,
        }
    }
}

/// Reads the keys of `core` out of a message; `None` if there is no usable key in it.
#[must_use]
pub fn read_filter_keys(core: CoreId, keys: &[FilterKeyMessage]) -> Option<FilterKeys> {
    let mut read = keys.iter().filter_map(|message| {
        let octets = STANDARD.decode(message.key.reveal()).ok()?;
        Some((message.generation, FilterKey::new(octets.try_into().ok()?)))
    });
    Some(FilterKeys {
        core,
        latest: read.next()?,
        earlier: read.next(),
    })
}

pub(super) mod secret_text {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    use crate::redact::Secret;

    pub(in crate::link::control) fn serialize<S: Serializer>(
        key: &Secret<String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        key.reveal().serialize(to)
    }

    pub(in crate::link::control) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Secret<String>, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}
