//! An offer on its way: every m-line gets ports of the pair, and the other side is offered what it shall have.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use smallvec::SmallVec;

use super::leg::{Agreed, Leg, Offer, OfferLine, Progress, Relayed, Stream, Target};
use super::party::Party;
use super::{Exchange, MediaPolicy, Refusal, Side, Step, Tools};
use crate::media::class::MediaClass;
use crate::media::plan::{IceCredentials, StreamId};
use crate::media::supply::Family;
use crate::redact::Secret;
use crate::sdp::crypto::{CryptoLine, SrtpKeys, SrtpSuite};
use crate::sdp::description::{Description, Media};
use crate::sdp::profile::{Protected, RtpProfile};
use crate::sdp::rewrite::{MediaEdit, Place, RtpEdit, SessionEdit, rewrite};

impl Leg {
    /// Takes an offer: ports for its lines, and the description that goes on to the other side. On an error the leg may
    /// have streams that nobody needs.
    pub(super) fn take_offer(
        &mut self,
        tools: &mut Tools<'_>,
        exchange: &Exchange<'_>,
        dialog: Option<usize>,
        description: &Description<'_>,
        now: Instant,
    ) -> Result<(Offer, Vec<u8>), Refusal> {
        let mut lines = Vec::with_capacity(description.media_count());
        let mut refusal = None;
        for media in description.media() {
            let protocol = media.fields().protocol.to_owned();
            let relayed = self.offered_line(tools, exchange.from, dialog, &media);
            let relayed = match relayed {
                Ok(relayed) => relayed,
                Err(Refusal::NoPorts) => return Err(Refusal::NoPorts),
                Err(reason) => {
                    refusal = refusal.or(Some(reason));
                    tools.refused.push((media.index(), reason));
                    None
                }
            };
            lines.push(OfferLine { protocol, relayed });
        }
        let is_empty = lines.iter().all(|line| line.relayed.is_none());
        if let Some(reason) = refusal.filter(|_| is_empty) {
            return Err(reason);
        }
        let requester = match exchange.step {
            Step::Request => exchange.from,
            Step::Response { .. } => exchange.from.other(),
        };
        let offer = Offer {
            from: exchange.from,
            requester,
            method: exchange.method,
            cseq: exchange.cseq,
            since: now,
            lines,
            progress: Progress::Open,
            previous: None,
        };
        let text = self.write_offer(tools, &offer, description);
        Ok((offer, text))
    }

    /// One line of an offer; `None` if it is not in use.
    fn offered_line(
        &mut self,
        tools: &mut Tools<'_>,
        from: Side,
        dialog: Option<usize>,
        media: &Media<'_>,
    ) -> Result<Option<Relayed>, Refusal> {
        if media.fields().port == 0 {
            return Ok(None);
        }
        let agreed = self.agreed(dialog, media.index()).cloned();
        let crypto = agreed.as_ref().and_then(|a| a.party(from).crypto.as_ref());
        let kept = crypto.and_then(CryptoLine::suite);
        let offerer = Party::offer(media, from, kept, self.terms.media, tools.settings)?;
        let stream = self.ensure_stream(tools, from, media, &offerer)?;
        let agreed = agreed.filter(|agreed| agreed.stream == stream);
        let target = offerer
            .profile
            .map(|profile| self.target(from.other(), profile, &offerer, agreed.as_ref()));
        let ice = ice(tools, from, &offerer, agreed.as_ref());
        Ok(Some(Relayed {
            stream,
            offerer,
            target,
            ice,
        }))
    }

    /// The stream of that m-line, a new one if there is none of the same kind.
    fn ensure_stream(
        &mut self,
        tools: &mut Tools<'_>,
        from: Side,
        media: &Media<'_>,
        party: &Party,
    ) -> Result<StreamId, Refusal> {
        let index = media.index();
        let is_rtp = party.profile.is_some();
        let same = self.streams.iter().find(|stream| {
            let is_alike = is_alike(stream.class, party.class);
            stream.index == index && stream.is_rtp == is_rtp && is_alike
        });
        if let Some(stream) = same {
            return Ok(stream.id);
        }
        let family = match from {
            Side::Outer => self.terms.inner_family,
            Side::Inner => media
                .connection()
                .map_or(self.terms.inner_family, Family::of),
        };
        let supply = &mut *tools.supply;
        let outer = supply.take_outer(self.terms.edge, party.class);
        let outer = outer.ok_or(Refusal::NoPorts)?;
        let Some(inner) = supply.take_inner(family) else {
            supply.release_outer(outer.alloc);
            return Err(Refusal::NoPorts);
        };
        let id = StreamId(tools.number());
        self.streams.push(Stream {
            id,
            index,
            class: party.class,
            is_rtp,
            outer,
            inner,
            keys: BTreeMap::new(),
            told: None,
        });
        Ok(id)
    }

    /// What the other side is offered for RTP.
    fn target(
        &self,
        to: Side,
        profile: RtpProfile,
        offerer: &Party,
        agreed: Option<&Agreed>,
    ) -> Target {
        let before = agreed.map(|agreed| agreed.party(to));
        let is_secure = match (to, before) {
            (Side::Outer, _) => true,
            (Side::Inner, Some(before)) => before.crypto.is_some(),
            (Side::Inner, None) => match self.terms.media {
                MediaPolicy::Rtp => false,
                MediaPolicy::Srtp | MediaPolicy::AsOffered => offerer.crypto.is_some(),
            },
        };
        let protected = match (to, self.terms.media) {
            (Side::Inner, MediaPolicy::AsOffered) if before.is_none() => profile.protected,
            _ if is_secure => Protected::Srtp,
            _ => Protected::No,
        };
        let mut suites = SmallVec::new();
        if is_secure {
            // What was agreed stays: phones that take a better suite in mid-call have been seen to go on sealing with the
            // old one.
            match before.and_then(|before| before.crypto.as_ref()?.suite()) {
                Some(agreed) => suites.push(agreed),
                None => suites.extend_from_slice(&SrtpSuite::OFFERED),
            }
        }
        Target {
            profile: profile.with(protected),
            suites,
            rtcp_mux: before.is_some_and(|before| before.has_rtcp_mux),
        }
    }

    fn write_offer(
        &mut self,
        tools: &mut Tools<'_>,
        offer: &Offer,
        description: &Description<'_>,
    ) -> Vec<u8> {
        let to = offer.from.other();
        let mut edits = Vec::with_capacity(offer.lines.len());
        for line in &offer.lines {
            let edit = line
                .relayed
                .as_ref()
                .and_then(|relayed| self.offer_edit(tools, to, relayed));
            edits.push(edit.unwrap_or(MediaEdit::Off(None)));
        }
        self.write(to, description, &edits)
    }

    fn offer_edit<'r>(
        &mut self,
        tools: &mut Tools<'_>,
        to: Side,
        relayed: &'r Relayed,
    ) -> Option<MediaEdit<'r>> {
        let place = self.place(to, relayed.stream)?;
        let Some(target) = &relayed.target else {
            return Some(MediaEdit::Opaque(place));
        };
        let stream = self.stream_mut(relayed.stream)?;
        let mut crypto = Vec::with_capacity(target.suites.len());
        for (tag, suite) in (1..).zip(&target.suites) {
            crypto.push((tag, stream.key(tools, to, *suite)?.clone()));
        }
        let ice = relayed.ice.as_ref().filter(|_| to == Side::Outer);
        Some(MediaEdit::Rtp(
            place,
            RtpEdit {
                profile: target.profile,
                crypto,
                rtcp_mux: target.rtcp_mux,
                ice: ice.map(|ice| (ice.ufrag.as_str(), ice.password.reveal().as_str())),
            },
        ))
    }

    /// Where `side` shall send the media of a stream.
    pub(super) fn place(&self, side: Side, stream: StreamId) -> Option<Place> {
        let stream = self.stream(stream)?;
        Some(match side {
            Side::Outer => Place {
                address: stream.outer.address(Family::of(self.terms.flow_address))?,
                rtp: stream.outer.rtp,
                rtcp: stream.outer.rtcp,
            },
            Side::Inner => Place {
                address: stream.inner.rtp.ip(),
                rtp: stream.inner.rtp.port(),
                rtcp: stream.inner.rtcp.port(),
            },
        })
    }

    /// Writes a description for `to`.
    pub(super) fn write(
        &mut self,
        to: Side,
        description: &Description<'_>,
        edits: &[MediaEdit<'_>],
    ) -> Vec<u8> {
        let first = edits.iter().find_map(|edit| match edit {
            MediaEdit::Opaque(place) | MediaEdit::Rtp(place, _) => Some(place.address),
            MediaEdit::Off(_) => None,
        });
        let [outer, inner] = &mut self.addresses;
        let told = match to {
            Side::Outer => outer,
            Side::Inner => inner,
        };
        *told = first.or(*told);
        let nothing = IpAddr::from([0, 0, 0, 0]);
        let session = SessionEdit {
            address: told.unwrap_or(nothing),
            is_ice_lite: edits
                .iter()
                .any(|edit| matches!(edit, MediaEdit::Rtp(_, rtp) if rtp.ice.is_some())),
        };
        rewrite(description, &session, edits)
    }
}

impl Stream {
    /// The own key for sending to `side` under `suite`: made once, so that a repeated offer changes nothing.
    pub(super) fn key(
        &mut self,
        tools: &mut Tools<'_>,
        side: Side,
        suite: SrtpSuite,
    ) -> Option<&SrtpKeys> {
        match self.keys.entry((side, suite)) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(place) => Some(place.insert(tools.keys(suite)?)),
        }
    }
}

/// Whether ports of one class serve for the other: not every side repeats what a picture is for.
fn is_alike(one: MediaClass, other: MediaClass) -> bool {
    let is_picture = |class| matches!(class, MediaClass::Video | MediaClass::Presentation);
    one == other || (is_picture(one) && is_picture(other))
}

/// Our ICE agent for a line: for clients that offer ICE, the one before unless the client begins anew (RFC 8839 section
/// 4.4.1.1), and again in offers to a client that has used it.
fn ice(
    tools: &mut Tools<'_>,
    from: Side,
    offerer: &Party,
    agreed: Option<&Agreed>,
) -> Option<IceCredentials> {
    let before = agreed.and_then(|agreed| agreed.ice.clone());
    match from {
        Side::Inner => before,
        Side::Outer => {
            let fragment = offerer.ice.as_ref()?;
            let same = before.filter(|ice| ice.remote_ufrag.as_ref() == Some(fragment));
            Some(same.unwrap_or_else(|| IceCredentials {
                ufrag: tools.text::<6>(),
                password: Secret::new(tools.text::<18>()),
                remote_ufrag: Some(fragment.clone()),
            }))
        }
    }
}

impl Tools<'_> {
    fn keys(&mut self, suite: SrtpSuite) -> Option<SrtpKeys> {
        let mut material = zeroize::Zeroizing::new([0; 64]);
        let material = material.get_mut(..suite.material_bytes())?;
        (self.randomness)(material);
        SrtpKeys::new(suite, material, None)
    }

    /// `N` random octets as text of ice-chars (RFC 8839 section 5.4).
    fn text<const N: usize>(&mut self) -> String {
        let mut bytes = [0; N];
        (self.randomness)(&mut bytes);
        STANDARD_NO_PAD.encode(bytes)
    }
}
