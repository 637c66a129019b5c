//! Which message carries an offer, which one its answer, and what becomes of both when requests succeed or fail.

use std::time::Instant;

use super::leg::{Dialog, Leg, MessageKey, Offer, Progress};
use super::{Exchange, OfferMethod, Refusal, Side, Step, Tools, Verdict};
use crate::limits;
use crate::sdp::body;
use crate::sdp::description::Description;

/// What a description is, by the message that carries it (RFC 6337 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// An answer to the offer in this INVITE, or that this INVITE brought about.
    InviteAnswer,
    /// An answer to the offer of the last PRACK or UPDATE.
    OtherAnswer,
    Offer,
    /// Nobody waits for it.
    Useless,
}

impl Leg {
    pub(super) fn handle(
        &mut self,
        tools: &mut Tools<'_>,
        exchange: &Exchange<'_>,
        now: Instant,
    ) -> Verdict {
        if let Step::Response { code: 300.., .. } = exchange.step {
            self.fail(exchange);
            return Verdict::Pass;
        }
        let is_choice = matches!(exchange.step, Step::Response { code: 200.., .. });
        if is_choice && exchange.method == OfferMethod::Invite && !self.is_confirmed {
            self.confirm(exchange);
        }
        let verdict = self.handle_description(tools, exchange, now);
        if is_choice {
            self.complete(exchange);
        }
        verdict
    }

    fn handle_description(
        &mut self,
        tools: &mut Tools<'_>,
        exchange: &Exchange<'_>,
        now: Instant,
    ) -> Verdict {
        let content_type = exchange.content_type.unwrap_or_default();
        let place = match body::locate(content_type, exchange.body) {
            Ok(Some(place)) if !exchange.body.is_empty() => place,
            Ok(_) => {
                self.note_without_offer(exchange);
                return Verdict::Pass;
            }
            Err(_) => return Verdict::Refuse(Refusal::Malformed),
        };
        let key = MessageKey::of(exchange);
        if let Some(verdict) = self.recall(&key) {
            return verdict;
        }
        let text = exchange.body.get(place.description.clone());
        let description = match Description::parse(text.unwrap_or_default()) {
            Ok(description) => description,
            Err(error) => return Verdict::Refuse(error.into()),
        };
        let verdict = match self.rewritten(tools, exchange, &description, now) {
            Ok(Some(text)) => Verdict::Replace(body::replace(exchange.body, &place, &text).into()),
            Ok(None) => Verdict::Strip,
            Err(refusal) => return Verdict::Refuse(refusal),
        };
        self.remember(key, &verdict);
        verdict
    }

    fn rewritten(
        &mut self,
        tools: &mut Tools<'_>,
        exchange: &Exchange<'_>,
        description: &Description<'_>,
        now: Instant,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let is_request = exchange.step == Step::Request;
        if is_request && exchange.fork.is_none() && !self.is_confirmed {
            self.forget(); // the first INVITE again, after a challenge
        }
        let Some(dialog) = self.dialog_for(exchange) else {
            return self.first_offer(tools, exchange, description, now);
        };
        match self.role(exchange, dialog) {
            Role::Useless => Ok(None),
            Role::Offer => {
                self.clear_way(exchange, dialog, now)?;
                let offer = self.take_offer(tools, exchange, Some(dialog), description, now);
                let (mut offer, text) = offer?;
                if let Some(dialog) = self.dialogs.get_mut(dialog) {
                    offer.previous = Some(dialog.agreed.clone());
                    match exchange.method {
                        OfferMethod::Invite | OfferMethod::Ack => {
                            dialog.invite = Some(offer);
                            dialog.other = None;
                        }
                        OfferMethod::Prack | OfferMethod::Update => dialog.other = Some(offer),
                    }
                }
                Ok(Some(text))
            }
            role @ (Role::InviteAnswer | Role::OtherAnswer) => {
                Ok(self.answer(tools, exchange, dialog, role, description))
            }
        }
    }

    /// The offer of the first INVITE: nobody has answered yet.
    fn first_offer(
        &mut self,
        tools: &mut Tools<'_>,
        exchange: &Exchange<'_>,
        description: &Description<'_>,
        now: Instant,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        if exchange.step != Step::Request || exchange.method != OfferMethod::Invite {
            return Ok(None);
        }
        if self.is_confirmed {
            return Ok(None);
        }
        let (offer, text) = self.take_offer(tools, exchange, None, description, now)?;
        self.initial = Some(offer);
        Ok(Some(text))
    }

    fn answer(
        &mut self,
        tools: &mut Tools<'_>,
        exchange: &Exchange<'_>,
        dialog: usize,
        role: Role,
        description: &Description<'_>,
    ) -> Option<Vec<u8>> {
        let slot = self.slot(dialog, role)?;
        let mut offer = slot.take()?;
        let (agreed, text) = self.take_answer(tools, &offer, description);
        offer.progress = match exchange.step {
            Step::Response {
                is_reliable: false, ..
            } => Progress::Previewed,
            Step::Response { .. } | Step::Request => Progress::Answered,
        };
        *self.slot(dialog, role)? = Some(offer);
        let known = self.dialogs.get_mut(dialog)?;
        if role == Role::OtherAnswer {
            // RFC 6141 section 3.4: what UPDATE changed stays when the re-INVITE around it fails.
            let invite = known.invite.as_mut();
            if let Some(previous) = invite.and_then(|invite| invite.previous.as_mut()) {
                previous.clone_from(&agreed);
            }
        }
        known.agreed = agreed;
        // The latest answer counts: packets go there until a 2xx chooses.
        let latest = self.dialogs.remove(dialog);
        self.dialogs.push(latest);
        Some(text)
    }

    fn slot(&mut self, dialog: usize, role: Role) -> Option<&mut Option<Offer>> {
        let dialog = self.dialogs.get_mut(dialog)?;
        match role {
            Role::InviteAnswer => Some(&mut dialog.invite),
            Role::OtherAnswer => Some(&mut dialog.other),
            Role::Offer | Role::Useless => None,
        }
    }

    fn role(&self, exchange: &Exchange<'_>, dialog: usize) -> Role {
        let Some(dialog) = self.dialogs.get(dialog) else {
            return Role::Useless;
        };
        let is_awaited = dialog.invite.as_ref().is_some_and(|offer| {
            let is_open = offer.progress == Progress::Open;
            is_open && offer.is_in_response() && offer.from != exchange.from
        });
        match (exchange.step, exchange.method) {
            (Step::Request, OfferMethod::Ack | OfferMethod::Prack) if is_awaited => {
                Role::InviteAnswer
            }
            (Step::Request | Step::Response { .. }, OfferMethod::Ack) => Role::Useless,
            (Step::Request, OfferMethod::Invite | OfferMethod::Prack | OfferMethod::Update) => {
                Role::Offer
            }
            (Step::Response { is_reliable, .. }, OfferMethod::Invite) => {
                dialog.invite_response(exchange, is_reliable)
            }
            (Step::Response { .. }, OfferMethod::Prack | OfferMethod::Update) => {
                match &dialog.other {
                    Some(offer) if offer.is_of(exchange) => Role::OtherAnswer,
                    Some(_) | None => Role::Useless,
                }
            }
        }
    }

    /// The dialog of a message; the first message of a called party makes one.
    fn dialog_for(&mut self, exchange: &Exchange<'_>) -> Option<usize> {
        let is_first = matches!(exchange.step, Step::Response { .. })
            && exchange.method == OfferMethod::Invite
            && !self.is_confirmed;
        if let Some(known) = self.dialog(exchange) {
            return Some(known);
        }
        let tag = exchange.fork.filter(|_| is_first)?;
        if self.dialogs.len() >= limits::ANCHORED_FORKS_MAX {
            return None;
        }
        // The latest answer stands last; who has not answered stands first.
        self.dialogs
            .insert(0, Dialog::new(tag, self.initial.clone()));
        Some(0)
    }

    /// A 2xx to the first INVITE chooses one of those that were called.
    fn confirm(&mut self, exchange: &Exchange<'_>) {
        let tag = exchange.fork.unwrap_or_default();
        self.dialogs.retain(|dialog| *dialog.tag == *tag);
        if self.dialogs.is_empty() {
            self.dialogs.push(Dialog::new(tag, self.initial.clone()));
        }
        self.initial = None;
        self.is_confirmed = true;
    }

    /// After a 2xx nothing goes back any more; an offer that it left without answer never existed.
    fn complete(&mut self, exchange: &Exchange<'_>) {
        let dialog = self.dialog(exchange);
        let Some(dialog) = dialog.and_then(|at| self.dialogs.get_mut(at)) else {
            return;
        };
        for slot in [&mut dialog.invite, &mut dialog.other] {
            let Some(offer) = slot.as_mut().filter(|offer| offer.is_of(exchange)) else {
                continue;
            };
            match offer.progress {
                Progress::Open if offer.is_in_response() => {}
                Progress::Open => *slot = None,
                Progress::Previewed | Progress::Answered => {
                    offer.progress = Progress::Answered;
                    offer.previous = None;
                }
            }
        }
    }

    /// A request failed: what was agreed before it counts again.
    fn fail(&mut self, exchange: &Exchange<'_>) {
        if exchange.method == OfferMethod::Invite && !self.is_confirmed {
            let is_retried =
                matches!(exchange.step, Step::Response { code, .. } if is_retried(code));
            if is_retried {
                self.forget_but_offer();
            } else {
                self.forget();
            }
            return;
        }
        let dialog = self.dialog(exchange);
        let Some(dialog) = dialog.and_then(|at| self.dialogs.get_mut(at)) else {
            return;
        };
        for slot in [&mut dialog.invite, &mut dialog.other] {
            let Some(offer) = slot.take_if(|offer| offer.is_of(exchange)) else {
                continue;
            };
            if let Some(previous) = offer.previous.filter(|_| offer.progress != Progress::Open) {
                dialog.agreed = previous;
            }
        }
    }

    /// An INVITE without an offer ends what the last one offered, and has the other side make one.
    fn note_without_offer(&mut self, exchange: &Exchange<'_>) {
        if exchange.step != Step::Request || exchange.method != OfferMethod::Invite {
            return;
        }
        let dialog = self.dialog(exchange);
        if let Some(dialog) = dialog.and_then(|at| self.dialogs.get_mut(at)) {
            // One of the other side that is still open is for that side to settle (491).
            dialog.invite.take_if(|offer| {
                offer.requester == exchange.from || offer.progress != Progress::Open
            });
        }
    }

    /// RFC 6337 section 3.1: one offer at a time. One that was never answered gives way after a while.
    fn clear_way(
        &mut self,
        exchange: &Exchange<'_>,
        dialog: usize,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(dialog) = self.dialogs.get_mut(dialog) else {
            return Ok(());
        };
        for slot in [&mut dialog.invite, &mut dialog.other] {
            slot.take_if(|offer| {
                let age = now.saturating_duration_since(offer.since);
                let is_again = offer.from == exchange.from && offer.method == exchange.method;
                let is_lost = is_again || age > limits::OFFER_AGE_MAX;
                offer.progress == Progress::Open && is_lost
            });
        }
        if dialog.is_open(Side::Outer) || dialog.is_open(Side::Inner) {
            return Err(Refusal::Glare);
        }
        Ok(())
    }
}

/// After these the same request comes again, with credentials or a longer session timer: its ports wait for it.
const fn is_retried(code: u16) -> bool {
    matches!(code, 401 | 407 | 422)
}

impl Dialog {
    /// What a description in a response to INVITE is.
    fn invite_response(&self, exchange: &Exchange<'_>, is_reliable: bool) -> Role {
        match &self.invite {
            Some(offer) if offer.is_of(exchange) => {
                // RFC 6337 section 3.1.1: after UPDATE or PRACK have gone on, a repeated answer is void.
                let is_past = offer.progress == Progress::Answered && self.other.is_some();
                if offer.is_in_response() || is_past {
                    Role::Useless
                } else {
                    Role::InviteAnswer
                }
            }
            // The INVITE had no offer: the first reliable response has it (RFC 3261 section 13.2.1).
            Some(_) | None if is_reliable => Role::Offer,
            Some(_) | None => Role::Useless,
        }
    }
}
