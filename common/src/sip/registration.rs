//! Flows and the AoRs that are bound to them. Decides nothing about who may bind.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use super::digest::NonceCounts;
use super::flow_token::TokenText;
use super::identity::Aor;
use super::proxy::slots::SlotKey;
use super::proxy::{CloseReason, Event, FlowId, FlowPeer, NodeId, Proof, UnboundReason};
use crate::limits;

/// One client connection and what it may speak for.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) peer: FlowPeer,
    pub(super) token: TokenText,
    bindings: SmallVec<[Binding; 1]>,
    /// AoRs whose REGISTER the registrar challenged on this flow, and when.
    challenged: SmallVec<[(Aor, Instant); 1]>,
    /// Contact URIs of this client that stand behind the flow token in Contact mode.
    contacts: Vec<Bytes>,
    /// The transactions that it has part in.
    pub(super) transactions: SmallVec<[SlotKey; 4]>,
    /// The flow over which the same client registered since.
    successor: Option<FlowId>,
    /// What it has answered of our own challenges.
    pub(super) nonces: NonceCounts,
}

/// An AoR that a flow may speak for.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) aor: Aor,
    /// Further AoRs that the registrar gave with it.
    pub(super) implicit: SmallVec<[Aor; 1]>,
    /// Tells one client from another that registers the same AoR: see [`Registrations::bind`].
    pub(super) client: u64,
    pub(super) expires_at: Instant,
    pub(super) registrar: Arc<str>,
    /// The node that accepted the registration.
    pub(super) node: Option<NodeId>,
    /// Values of Service-Route (RFC 3608), in order.
    pub(super) service_routes: Vec<Bytes>,
    pub(super) proof: Proof,
    /// Whether the registrar took part in outbound (RFC 5626).
    pub(super) has_outbound: bool,
}

/// What is remembered of a flow that closed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gone {
    pub(super) has_outbound: bool,
    /// The flow over which the same client came back.
    pub(super) successor: Option<FlowId>,
}

/// Every flow.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    flows: HashMap<FlowId, Flow>,
    /// Which flow a client registered over last.
    clients: HashMap<u64, FlowId>,
    expiry: BTreeSet<(Instant, FlowId, Aor)>,
    gone: HashMap<FlowId, Gone>,
    gone_order: VecDeque<FlowId>,
    /// Clients of flows that closed: a client that comes back is their successor.
    lost: HashMap<u64, FlowId>,
}

impl Flow {
    pub(super) fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    pub(super) fn binding(&self, aor: &Aor) -> Option<&Binding> {
        self.bindings.iter().find(|binding| binding.aor == *aor)
    }

    /// The binding that `is_it` knows by one of its AoRs.
    pub(super) fn binding_by(&self, is_it: impl Fn(&Aor) -> bool) -> Option<&Binding> {
        let mut bindings = self.bindings.iter();
        bindings.find(|binding| is_it(&binding.aor) || binding.implicit.iter().any(&is_it))
    }

    /// Whether it may send everything.
    pub(super) fn is_open(&self) -> bool {
        !self.bindings.is_empty()
    }

    /// The registrar challenged a REGISTER for `aor`.
    pub(super) fn challenge(&mut self, aor: Aor, now: Instant) {
        self.challenged.retain(|(each, _)| *each != aor);
        if self.challenged.len() >= limits::SIP_BINDINGS_PER_FLOW_MAX {
            self.challenged.remove(0);
        }
        self.challenged.push((aor, now));
    }

    /// Whether the registrar challenged a REGISTER for `aor` not long ago.
    pub(super) fn is_challenged(&self, aor: &Aor, now: Instant) -> bool {
        self.challenged.iter().any(|(each, at)| {
            each == aor && now.saturating_duration_since(*at) < limits::SIP_CHALLENGE_LIFETIME
        })
    }

    /// The number that stands for a Contact URI; `None` if there are too many.
    pub(super) fn contact_number(&mut self, uri: &[u8]) -> Option<usize> {
        if let Some(known) = self.contacts.iter().position(|each| each == uri) {
            return Some(known);
        }
        if self.contacts.len() >= limits::SIP_CONTACTS_PER_FLOW_MAX {
            return None;
        }
        self.contacts.push(Bytes::copy_from_slice(uri));
        self.contacts.len().checked_sub(1)
    }

    /// The Contact URI behind a number.
    pub(super) fn contact(&self, number: usize) -> Option<&Bytes> {
        self.contacts.get(number)
    }
}

impl Registrations {
    /// Adds a flow; `false` if there are too many or the id is in use.
    pub(super) fn open(&mut self, id: FlowId, peer: FlowPeer, token: TokenText) -> bool {
        if self.flows.len() >= limits::SIP_FLOWS_MAX || self.flows.contains_key(&id) {
            return false;
        }
        let flow = Flow {
            peer,
            token,
            bindings: SmallVec::new(),
            challenged: SmallVec::new(),
            contacts: Vec::new(),
            transactions: SmallVec::new(),
            successor: None,
            nonces: NonceCounts::default(),
        };
        self.flows.insert(id, flow);
        true
    }

    /// Forgets a flow.
    pub(super) fn close(&mut self, id: FlowId, events: &mut VecDeque<Event>) {
        let Some(flow) = self.flows.get(&id) else {
            return;
        };
        let aors: SmallVec<[Aor; 4]> = flow.bindings.iter().map(|b| b.aor.clone()).collect();
        let mut gone = Gone {
            has_outbound: false,
            successor: flow.successor,
        };
        for aor in aors {
            if let Some(binding) = self.unbind(id, &aor, UnboundReason::FlowClosed, events) {
                gone.has_outbound |= binding.has_outbound;
                self.lost.insert(binding.client, id);
            }
        }
        self.flows.remove(&id);
        self.remember(id, gone);
    }

    fn remember(&mut self, id: FlowId, gone: Gone) {
        if self.gone_order.len() >= limits::SIP_FLOWS_GONE_MAX
            && let Some(oldest) = self.gone_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
        // Clients that never come back: at most one for each binding of the flows that are remembered, and then some.
        if self.lost.len() > limits::SIP_FLOWS_GONE_MAX.saturating_mul(2) {
            let gone = &self.gone;
            self.lost.retain(|_, flow| gone.contains_key(flow));
        }
        if self.gone.insert(id, gone).is_none() {
            self.gone_order.push_back(id);
        }
    }

    pub(super) fn flow(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(&id)
    }

    pub(super) fn flow_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.flows.get_mut(&id)
    }

    pub(super) fn gone(&self, id: FlowId) -> Gone {
        self.gone.get(&id).copied().unwrap_or_default()
    }

    /// The flow itself, or the one over which its client came back: a call goes on there.
    pub(super) fn living(&self, id: FlowId) -> Option<FlowId> {
        let flow = self.flows.get(&id);
        if flow.is_some_and(Flow::is_open) {
            return Some(id);
        }
        let successor = match flow {
            Some(flow) => flow.successor,
            None => self.gone.get(&id).and_then(|gone| gone.successor),
        };
        successor
            .filter(|next| self.flows.get(next).is_some_and(Flow::is_open))
            .or_else(|| flow.map(|_| id))
    }

    /// Binds an AoR to a flow, or refreshes that. A client is known by the AoR, `+sip.instance` and `reg-id` (RFC 5626
    /// section 6), else by its Contact: what it bound over another flow ends. `false` if the flow has too many.
    pub(super) fn bind(
        &mut self,
        id: FlowId,
        binding: Binding,
        expires: Duration,
        events: &mut VecDeque<Event>,
    ) -> bool {
        let Some(flow) = self.flows.get_mut(&id) else {
            return false;
        };
        let known = flow.bindings.iter().position(|b| b.aor == binding.aor);
        if known.is_none() && flow.bindings.len() >= limits::SIP_BINDINGS_PER_FLOW_MAX {
            return false;
        }
        let is_first = flow.bindings.is_empty();
        let (aor, client, expires_at) = (binding.aor.clone(), binding.client, binding.expires_at);
        events.push_back(Event::Bound {
            flow: id,
            aor: aor.clone(),
            expires,
            proof: binding.proof,
            registrar: Arc::clone(&binding.registrar),
        });
        let old = match known.and_then(|at| flow.bindings.get_mut(at)) {
            Some(slot) => Some(std::mem::replace(slot, binding)),
            None => {
                flow.bindings.push(binding);
                None
            }
        };
        if let Some(old) = old {
            self.expiry.remove(&(old.expires_at, id, old.aor));
            if old.client != client {
                self.clients.remove(&old.client);
            }
        }
        if is_first {
            events.push_back(Event::GateOpen(id));
        }
        self.expiry.insert((expires_at, id, aor.clone()));
        self.take_over(id, &aor, client, events);
        true
    }

    fn take_over(&mut self, id: FlowId, aor: &Aor, client: u64, events: &mut VecDeque<Event>) {
        if let Some(before) = self.lost.remove(&client)
            && let Some(gone) = self.gone.get_mut(&before)
        {
            gone.successor = Some(id);
        }
        match self.clients.insert(client, id) {
            Some(before) if before != id => {
                self.unbind(before, aor, UnboundReason::Replaced, events);
                self.clients.insert(client, id);
                if let Some(flow) = self.flows.get_mut(&before)
                    && !flow.is_open()
                {
                    flow.successor = Some(id);
                    events.push_back(Event::CloseFlow {
                        flow: before,
                        reason: CloseReason::Replaced,
                    });
                }
            }
            _ => {}
        }
    }

    /// Ends a binding; returns it if there was one.
    pub(super) fn unbind(
        &mut self,
        id: FlowId,
        aor: &Aor,
        reason: UnboundReason,
        events: &mut VecDeque<Event>,
    ) -> Option<Binding> {
        let flow = self.flows.get_mut(&id)?;
        let at = flow.bindings.iter().position(|b| b.aor == *aor)?;
        let binding = flow.bindings.remove(at);
        let is_last = flow.bindings.is_empty();
        self.expiry.remove(&(binding.expires_at, id, aor.clone()));
        if self.clients.get(&binding.client) == Some(&id) {
            self.clients.remove(&binding.client);
        }
        events.push_back(Event::Unbound {
            flow: id,
            aor: aor.clone(),
            reason,
        });
        if is_last {
            events.push_back(Event::GateClosed(id));
        }
        Some(binding)
    }

    /// Ends what ran out.
    pub(super) fn expire(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        while let Some((at, id, aor)) = self.expiry.first().cloned()
            && at <= now
        {
            self.unbind(id, &aor, UnboundReason::Expired, events);
            self.expiry.remove(&(at, id, aor));
        }
    }

    /// When the next binding runs out.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiry.first().map(|(at, _, _)| *at)
    }

    /// Ends the bindings of registrars that are gone.
    pub(super) fn retain_registrars(
        &mut self,
        is_there: impl Fn(&str) -> bool,
        events: &mut VecDeque<Event>,
    ) {
        let all: Vec<(FlowId, Aor)> = self
            .expiry
            .iter()
            .map(|(_, id, aor)| (*id, aor.clone()))
            .collect();
        for (id, aor) in all {
            let binding = self.flow(id).and_then(|flow| flow.binding(&aor));
            if binding.is_some_and(|b| !is_there(&b.registrar)) {
                self.unbind(id, &aor, UnboundReason::RegistrarGone, events);
            }
        }
    }

    pub(super) fn flows_len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn bindings_len(&self) -> usize {
        self.expiry.len()
    }

    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        debug_assert!(self.flows.len() <= limits::SIP_FLOWS_MAX);
        debug_assert!(self.gone.len() <= limits::SIP_FLOWS_GONE_MAX);
        debug_assert!(self.clients.len() <= self.expiry.len());
        debug_assert_eq!(self.gone.len(), self.gone_order.len());
    }
}
