//! The proxy core's door to the media: bodies of messages become steps of offer and answer, and the verdicts come back.

use bytes::Bytes;
use common::media::anchor::{Exchange, LegTerms, MediaPolicy, OfferMethod, Side, Step, Verdict};
use common::media::plan::StopReason;
use common::media::supply::Family;
use common::sip::proxy::{
    self, BodyAnchor, BodyContext, BodyDirection, BodyMethod, BodyVerdict, CallEnd, CallKey,
};

use super::desk::SharedDesk;

/// Rewrites bodies so that media passes through the pair.
#[derive(Debug)]
pub(super) struct Bodies(pub(super) SharedDesk);

impl BodyAnchor for Bodies {
    fn request(&mut self, context: &BodyContext<'_>, body: &Bytes) -> BodyVerdict {
        self.pass(context, body, Step::Request)
    }

    fn response(&mut self, context: &BodyContext<'_>, body: &Bytes) -> BodyVerdict {
        let code = context.code.unwrap_or_default();
        let is_reliable = context.is_reliable || (200..300).contains(&code);
        self.pass(context, body, Step::Response { code, is_reliable })
    }

    fn ended(&mut self, call: CallKey, how: CallEnd) {
        self.0.lock().end(call, reason(how));
        self.0.note_due();
    }
}

impl Bodies {
    fn pass(&self, context: &BodyContext<'_>, body: &Bytes, step: Step) -> BodyVerdict {
        let verdict = self.verdict(context, body, step);
        self.0.note_due();
        verdict
    }

    fn verdict(&self, context: &BodyContext<'_>, body: &Bytes, step: Step) -> BodyVerdict {
        let mut desk = self.0.lock();
        let method = method(context.method);
        let begins = method == OfferMethod::Invite && step == Step::Request;
        if !begins && !desk.knows(context.call) {
            // A call from before a restart: what its bodies say is not true of this process.
            return if body.is_empty() {
                BodyVerdict::Pass
            } else {
                BodyVerdict::Strip
            };
        }
        let terms = LegTerms {
            edge: context.peer.edge,
            flow_address: context.peer.client.0.ip().to_canonical(),
            inner_family: Family::of(context.inner),
            media: policy(context.policy),
        };
        let leg = match desk.leg(context.call, context.call_id, context.peer.tracking, terms) {
            Ok(leg) => leg,
            Err(refusal) => return refused(refusal),
        };
        let exchange = Exchange {
            from: match context.direction {
                BodyDirection::FromClient => Side::Outer,
                BodyDirection::ToClient => Side::Inner,
            },
            method,
            step,
            cseq: context.cseq,
            fork: context.fork,
            content_type: context.content_type,
            body,
        };
        match desk.handle_body(leg, &exchange) {
            Verdict::Pass => BodyVerdict::Pass,
            Verdict::Replace(body) => BodyVerdict::Replace(body),
            Verdict::Strip => BodyVerdict::Strip,
            Verdict::Refuse(refusal) => refused(refusal),
        }
    }
}

const fn refused(refusal: common::media::anchor::Refusal) -> BodyVerdict {
    BodyVerdict::Refuse {
        code: refusal.status(),
        reason: refusal.as_str(),
        retry_after: refusal.retry_after(),
    }
}

const fn method(method: BodyMethod) -> OfferMethod {
    match method {
        BodyMethod::Ack => OfferMethod::Ack,
        BodyMethod::Invite => OfferMethod::Invite,
        BodyMethod::Prack => OfferMethod::Prack,
        BodyMethod::Update => OfferMethod::Update,
    }
}

const fn policy(policy: proxy::MediaPolicy) -> MediaPolicy {
    match policy {
        proxy::MediaPolicy::AsOffered => MediaPolicy::AsOffered,
        proxy::MediaPolicy::Rtp => MediaPolicy::Rtp,
        proxy::MediaPolicy::Srtp => MediaPolicy::Srtp,
    }
}

const fn reason(how: CallEnd) -> StopReason {
    match how {
        CallEnd::Bye => StopReason::Bye,
        CallEnd::Cancelled => StopReason::Cancel,
        CallEnd::Expired => StopReason::Expired,
        CallEnd::Failed(_) | CallEnd::FlowClosed => StopReason::Failure,
        CallEnd::NoMedia => StopReason::NoMedia,
    }
}
