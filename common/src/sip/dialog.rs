//! Calls: which messages belong to one leg, so that its media can be anchored. Keeps no route: that stands in the
//! messages.

mod ends;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

pub(super) use ends::Ends;

use super::message::Message;
use super::proxy::slots::{SlotKey, Slots};
use super::proxy::{CallKey, FlowId};
use crate::limits;

/// One leg: a call between a client and the inside.
#[derive(Debug)]
pub(super) struct Call {
    call_id: Bytes,
    /// From tag of the initial INVITE.
    caller_tag: Bytes,
    /// To tag of the 2xx.
    callee_tag: Option<Bytes>,
    /// The flow that the call began on.
    pub(super) flow: FlowId,
    is_client_caller: bool,
    pub(super) answered_at: Option<Instant>,
    expires_at: Instant,
    hash: u64,
    /// From the 2xx on.
    ends: Option<Box<Ends>>,
}

/// What tells a leg from others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leg<'a> {
    pub(super) call_id: &'a [u8],
    pub(super) from_tag: &'a [u8],
    pub(super) to_tag: Option<&'a [u8]>,
    /// The flow of the client, and the one that its route names.
    pub(super) flows: [FlowId; 2],
    /// Whether the request comes from the client.
    pub(super) is_from_client: bool,
}

#[derive(Debug)]
pub(super) struct Calls {
    calls: Slots<Call>,
    by_dialog: HashMap<u64, SmallVec<[SlotKey; 1]>>,
    expiry: BTreeSet<(Instant, SlotKey)>,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            calls: Slots::new(limits::SIP_CALLS_MAX),
            by_dialog: HashMap::new(),
            expiry: BTreeSet::new(),
        }
    }

    /// The leg that a request belongs to. `hash` is that of Call-ID and the tag it is given.
    pub(super) fn find(&self, leg: &Leg<'_>, hash: impl Fn(&[u8]) -> u64) -> Option<CallKey> {
        let one = self.find_by(leg, leg.from_tag, leg.to_tag, true, hash(leg.from_tag));
        let found = one.or_else(|| {
            let to_tag = leg.to_tag?;
            self.find_by(leg, to_tag, Some(leg.from_tag), false, hash(to_tag))
        });
        found.map(|key| CallKey(key.to_u64()))
    }

    fn find_by(
        &self,
        leg: &Leg<'_>,
        caller_tag: &[u8],
        callee_tag: Option<&[u8]>,
        is_from_caller: bool,
        hash: u64,
    ) -> Option<SlotKey> {
        let is_client_caller = leg.is_from_client == is_from_caller;
        let keys = self.by_dialog.get(&hash)?;
        let fits = |key: &&SlotKey| {
            self.calls.get(**key).is_some_and(|call| {
                call.is_client_caller == is_client_caller
                    && call.call_id == leg.call_id
                    && call.caller_tag == caller_tag
            })
        };
        let call = |key: &&SlotKey| self.calls.get(**key);
        let is_on_flow =
            |key: &&SlotKey| call(key).is_some_and(|call| leg.flows.contains(&call.flow));
        if leg.to_tag.is_none() {
            // A second INVITE after a challenge: never one that forks to another flow, never one that was answered.
            let is_early = |key: &&SlotKey| call(key).is_some_and(|call| call.callee_tag.is_none());
            return keys
                .iter()
                .filter(fits)
                .filter(is_on_flow)
                .find(is_early)
                .copied();
        }
        let has_tag =
            |key: &&SlotKey| call(key).is_some_and(|call| call.callee_tag.as_deref() == callee_tag);
        let mut fitting = keys.iter().filter(fits);
        fitting
            .clone()
            .find(|key| is_on_flow(key) && has_tag(key))
            .or_else(|| fitting.clone().find(has_tag))
            .or_else(|| fitting.clone().find(is_on_flow))
            .or_else(|| fitting.next())
            .copied()
    }

    /// A new leg; `None` if there are too many.
    pub(super) fn begin(
        &mut self,
        leg: &Leg<'_>,
        hash: u64,
        nonce: u32,
        now: Instant,
    ) -> Option<CallKey> {
        let [flow, _] = leg.flows;
        let expires_at = now.checked_add(limits::SIP_CALL_SETUP_LIFETIME)?;
        let call = Call {
            call_id: Bytes::copy_from_slice(leg.call_id),
            caller_tag: Bytes::copy_from_slice(leg.from_tag),
            callee_tag: None,
            flow,
            is_client_caller: leg.is_from_client,
            answered_at: None,
            expires_at,
            hash,
            ends: None,
        };
        let key = self.calls.insert(nonce, call).ok()?;
        self.by_dialog.entry(hash).or_default().push(key);
        self.expiry.insert((expires_at, key));
        Some(CallKey(key.to_u64()))
    }

    pub(super) fn is_answered(&self, call: CallKey) -> bool {
        self.get(call)
            .is_some_and(|call| call.answered_at.is_some())
    }

    /// Whether a request belongs to the dialog that won: a BYE to another fork ends nothing.
    pub(super) fn is_answered_by(&self, call: CallKey, request: &Message) -> bool {
        let other = if self.is_from_caller(call, request) {
            request.to_tag()
        } else {
            request.from_tag()
        };
        self.get(call)
            .is_some_and(|call| call.callee_tag.is_none() || call.callee_tag.as_deref() == other)
    }

    fn get(&self, call: CallKey) -> Option<&Call> {
        self.calls.get(SlotKey::from_u64(call.0))
    }

    /// Whether the sender of a request is the calling party of its leg.
    pub(super) fn is_from_caller(&self, call: CallKey, request: &Message) -> bool {
        let tag = request.from_tag();
        self.get(call)
            .is_some_and(|call| tag == Some(&*call.caller_tag))
    }

    /// A 2xx to INVITE passed; whether it was the first one.
    pub(super) fn answer(&mut self, call: CallKey, callee_tag: &[u8], now: Instant) -> bool {
        let Some(call) = self.calls.get_mut(SlotKey::from_u64(call.0)) else {
            return false;
        };
        if call.callee_tag.is_none() {
            call.callee_tag = Some(Bytes::copy_from_slice(callee_tag));
        }
        let is_first = call.answered_at.is_none();
        call.answered_at.get_or_insert(now);
        is_first
    }

    /// What is known of both ends of a call that was answered.
    pub(super) fn set_ends(&mut self, call: CallKey, ends: Option<Ends>) {
        if let Some(call) = self.calls.get_mut(SlotKey::from_u64(call.0)) {
            call.ends = ends.map(Box::new);
        }
    }

    /// A later request changed where an end is reached.
    pub(super) fn refresh(
        &mut self,
        call: CallKey,
        request: &Message,
        response: &Message,
        is_from_client: bool,
    ) {
        let call = self.calls.get_mut(SlotKey::from_u64(call.0));
        if let Some(ends) = call.and_then(|call| call.ends.as_mut()) {
            ends.refresh(request, response, is_from_client);
        }
    }

    /// What is known of both ends, and the flow of the client's.
    pub(super) fn take_ends(&mut self, call: CallKey) -> Option<(Ends, FlowId)> {
        let call = self.calls.get_mut(SlotKey::from_u64(call.0))?;
        Some((*call.ends.take()?, call.flow))
    }

    /// The leg lives for `lifetime` from now.
    pub(super) fn prolong(&mut self, call: CallKey, lifetime: Duration, now: Instant) {
        let key = SlotKey::from_u64(call.0);
        if let Some(call) = self.calls.get_mut(key)
            && let Some(until) = now.checked_add(lifetime)
        {
            self.expiry.remove(&(call.expires_at, key));
            call.expires_at = until;
            self.expiry.insert((until, key));
        }
    }

    pub(super) fn end(&mut self, call: CallKey) -> Option<Call> {
        let key = SlotKey::from_u64(call.0);
        let call = self.calls.remove(key)?;
        self.expiry.remove(&(call.expires_at, key));
        if let Some(keys) = self.by_dialog.get_mut(&call.hash) {
            keys.retain(|each| *each != key);
            if keys.is_empty() {
                self.by_dialog.remove(&call.hash);
            }
        }
        Some(call)
    }

    /// A leg whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Option<CallKey> {
        let (at, key) = self.expiry.first()?;
        (*at <= now).then(|| CallKey(key.to_u64()))
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiry.first().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }
}
