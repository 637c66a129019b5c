//! What the simulator knows and remembers. Decides nothing.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Serialize;

use super::fault::{Fault, FaultKind};
use crate::http_server::Received;
use crate::world::{User, World};

/// One request that reached a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The node's FQDN.
    pub host: String,
    /// `GET`, `PUT` ..
    pub method: String,
    /// As it stood in the request line.
    pub target: String,
    /// Field names in lower case.
    pub headers: Vec<(String, String)>,
    /// How long the body was.
    pub body_bytes: usize,
    /// The status that went back; before any fault.
    pub status: u16,
}

impl Seen {
    /// The first value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) world: World,
    passwords: BTreeMap<String, String>,
    /// Access token to user id.
    tokens: BTreeMap<String, String>,
    /// What PUT left, by path.
    pub(super) stored: BTreeMap<String, Bytes>,
    faults: Vec<Fault>,
    seen: VecDeque<Seen>,
}

impl State {
    pub(super) fn new(world: World) -> Self {
        let passwords = world
            .users
            .iter()
            .map(|user| (user.id.clone(), user.password.clone()))
            .collect();
        Self {
            world,
            passwords,
            tokens: BTreeMap::new(),
            stored: BTreeMap::new(),
            faults: Vec::new(),
            seen: VecDeque::new(),
        }
    }

    pub(super) fn set_password(&mut self, id: &str, password: &str) {
        self.passwords.insert(id.to_owned(), password.to_owned());
    }

    pub(super) fn add_token(&mut self, token: &str, id: &str) {
        self.tokens.insert(token.to_owned(), id.to_owned());
    }

    pub(super) fn revoke_token(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    /// Who the `Authorization` field proves to be; `cluster` knows only its own users' passwords.
    pub(super) fn authenticate(&self, cluster: usize, authorization: &str) -> Option<User> {
        let (scheme, value) = authorization.split_once(' ')?;
        let user = if scheme.eq_ignore_ascii_case("basic") {
            let text = String::from_utf8(BASE64.decode(value.trim()).ok()?).ok()?;
            let (id, password) = text.split_once(':')?;
            let user = self.world.user(id)?;
            (self.passwords.get(&user.id)? == password).then_some(user)?
        } else if scheme.eq_ignore_ascii_case("bearer") {
            self.world.user(self.tokens.get(value.trim())?)?
        } else {
            return None;
        };
        (user.cluster == cluster).then(|| user.clone())
    }

    pub(super) fn inject(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// The faults this request meets; counts them down.
    pub(super) fn faults_for(&mut self, host: &str, request: &Received) -> Vec<FaultKind> {
        self.faults
            .iter_mut()
            .filter(|fault| fault.applies(host, request))
            .map(|fault| {
                if let Some(times) = &mut fault.times {
                    *times -= 1;
                }
                fault.kind
            })
            .collect()
    }

    pub(super) fn remember(&mut self, seen: Seen) {
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.iter().cloned().collect()
    }

    pub(super) fn take_seen(&mut self) -> Vec<Seen> {
        self.seen.drain(..).collect()
    }
}

/// Enough for every test; the demo may run for days.
const SEEN_MAX: usize = 10_000;
