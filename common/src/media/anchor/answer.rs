//! An answer on its way back: what it says about each m-line is checked against the offer, and the offerer is answered
//! with ports and keys of the pair. A line that can't be relayed is switched off and disturbs no other.

use super::leg::{Agreed, Leg, Offer, OfferLine, Relayed};
use super::party::{Offered, Party};
use super::{Refusal, Side, Tools};
use crate::media::plan::IceCredentials;
use crate::sdp::description::{Description, Media};
use crate::sdp::profile::Protected;
use crate::sdp::rewrite::{MediaEdit, RtpEdit};

impl Leg {
    /// Reads the answer to an offer: what is agreed now, and the description that goes to the offerer.
    pub(super) fn take_answer(
        &mut self,
        tools: &mut Tools<'_>,
        offer: &Offer,
        description: &Description<'_>,
    ) -> (Vec<Option<Agreed>>, Vec<u8>) {
        let from = offer.from.other();
        let mut agreed = Vec::with_capacity(offer.lines.len());
        for (line, media) in offer.lines.iter().zip(description.media()) {
            let answered = answered_line(tools, from, line, &media);
            agreed.push(answered.unwrap_or_else(|reason| {
                tools.refused.push((media.index(), reason));
                None
            }));
        }
        let mut edits = Vec::with_capacity(offer.lines.len());
        for (line, agreed) in offer.lines.iter().zip(&agreed) {
            let edit = agreed
                .as_ref()
                .and_then(|agreed| self.answer_edit(tools, offer.from, line, agreed));
            edits.push(edit.unwrap_or(MediaEdit::Off(Some(&line.protocol))));
        }
        let text = self.write(offer.from, description, &edits);
        (agreed, text)
    }

    fn answer_edit<'a>(
        &mut self,
        tools: &mut Tools<'_>,
        to: Side,
        line: &'a OfferLine,
        agreed: &'a Agreed,
    ) -> Option<MediaEdit<'a>> {
        let offerer = &line.relayed.as_ref()?.offerer;
        let place = self.place(to, agreed.stream)?;
        let Some(profile) = offerer.profile else {
            return Some(MediaEdit::Opaque(place));
        };
        let mut crypto = Vec::with_capacity(1);
        if let Some(chosen) = &offerer.crypto {
            let stream = self.stream_mut(agreed.stream)?;
            let keys = stream.key(tools, to, chosen.suite()?)?;
            crypto.push((chosen.tag, keys.clone()));
        }
        let ice = agreed.ice.as_ref().filter(|_| to == Side::Outer);
        Some(MediaEdit::Rtp(
            place,
            RtpEdit {
                profile,
                crypto,
                rtcp_mux: offerer.has_rtcp_mux,
                ice: ice.map(|ice| (ice.ufrag.as_str(), ice.password.reveal().as_str())),
            },
        ))
    }
}

/// One line of an answer by `from`; `None` if it is rejected, an error if it can't be relayed as answered.
fn answered_line(
    tools: &Tools<'_>,
    from: Side,
    line: &OfferLine,
    media: &Media<'_>,
) -> Result<Option<Agreed>, Refusal> {
    let Some(relayed) = line.relayed.as_ref().filter(|_| media.fields().port != 0) else {
        return Ok(None);
    };
    let mut answerer = answerer(tools, from, relayed, media)?;
    let target_mux = relayed.target.as_ref().is_some_and(|t| t.rtcp_mux);
    answerer.has_rtcp_mux &= target_mux;
    let (outer, inner) = match from {
        Side::Outer => (answerer, relayed.offerer.clone()),
        Side::Inner => (relayed.offerer.clone(), answerer),
    };
    let ice = relayed.ice.clone().and_then(|ice| match from {
        Side::Inner => Some(ice),
        // The client answers an offer in which it found our agent.
        Side::Outer => outer.ice.clone().map(|fragment| IceCredentials {
            remote_ufrag: Some(fragment),
            ..ice
        }),
    });
    Ok(Some(Agreed {
        stream: relayed.stream,
        outer,
        inner,
        ice,
    }))
}

fn answerer(
    tools: &Tools<'_>,
    from: Side,
    relayed: &Relayed,
    media: &Media<'_>,
) -> Result<Party, Refusal> {
    let target = relayed.target.as_ref();
    let offered = Offered {
        suites: target.map_or(&[], |target| &target.suites),
        is_optional: target
            .is_some_and(|target| from == Side::Inner && target.profile.protected == Protected::No),
    };
    let party = Party::answer(media, from, offered, tools.settings)?;
    if party.profile.is_some() == target.is_some() {
        Ok(party)
    } else {
        Err(Refusal::NoMedia)
    }
}
