//! What one side says about one m-line: read, checked, and reduced to what the pair acts on.

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::{AnchorSettings, MediaPolicy, Refusal, Side};
use crate::limits;
use crate::media::class::MediaClass;
use crate::media::plan::ClockRates;
use crate::sdp::crypto::{CryptoLine, SrtpSuite};
use crate::sdp::description::{Attribute, Flow, Media};
use crate::sdp::profile::{Protected, RtpProfile, Transport};

/// One side's view of one m-line that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) class: MediaClass,
    /// `None`: relayed unread.
    pub(super) profile: Option<RtpProfile>,
    /// The keys that it sends with. Always there for the client's RTP.
    pub(super) crypto: Option<CryptoLine>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) remote_rtcp: Option<SocketAddr>,
    pub(super) has_rtcp_mux: bool,
    /// The fragment of its ICE agent.
    pub(super) ice: Option<String>,
    pub(super) flow: Flow,
    pub(super) clock_rates: ClockRates,
}

/// What was offered to the side whose answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offered<'a> {
    /// The suites behind the tags 1, 2, ..; none if SRTP was not offered.
    pub(super) suites: &'a [SrtpSuite],
    /// SRTP was offered under a profile without it, so that the answer may go without.
    pub(super) is_optional: bool,
}

impl Party {
    /// Reads a line that `side` offers. Of several suites `kept`, the one in use, is taken: phones that are made to change
    /// in mid-call have been seen to go on sealing with the old one.
    pub(super) fn offer(
        media: &Media<'_>,
        side: Side,
        kept: Option<SrtpSuite>,
        policy: MediaPolicy,
        settings: &AnchorSettings,
    ) -> Result<Self, Refusal> {
        let mut party = Self::plain(media)?;
        match side {
            Side::Outer => {
                if let Some(profile) = party.profile {
                    party.crypto = Some(client_keys(media, profile, kept)?);
                }
                party.forget_remote();
            }
            Side::Inner => {
                if let Some(profile) = party.profile {
                    party.crypto = inner_keys(media, profile, policy, kept)?;
                }
                party.check_remote(media, settings)?;
            }
        }
        Ok(party)
    }

    /// Reads a line in the answer of `side`.
    pub(super) fn answer(
        media: &Media<'_>,
        side: Side,
        offered: Offered<'_>,
        settings: &AnchorSettings,
    ) -> Result<Self, Refusal> {
        let mut party = Self::plain(media)?;
        if party.profile.is_some() && !offered.suites.is_empty() {
            party.crypto = crypto_lines(media).find(|line| {
                let place = usize::try_from(line.tag).unwrap_or(0).checked_sub(1);
                let suite = place.and_then(|at| offered.suites.get(at)).copied();
                suite.is_some() && line.suite() == suite
            });
            if party.crypto.is_none() && !offered.is_optional {
                return Err(match side {
                    Side::Outer => Refusal::NoKeys,
                    Side::Inner => Refusal::NoKeysInside,
                });
            }
        }
        match side {
            Side::Outer => party.forget_remote(),
            Side::Inner => party.check_remote(media, settings)?,
        }
        Ok(party)
    }

    /// Without keys.
    fn plain(media: &Media<'_>) -> Result<Self, Refusal> {
        let profile = match Transport::parse(media.fields().protocol) {
            Transport::Rtp(profile) => Some(profile),
            Transport::Udp => None,
            Transport::Foreign => return Err(Refusal::NoMedia),
        };
        let has_rtcp_mux = profile.is_some() && media.has_rtcp_mux();
        let fragment = media
            .inherited("ice-ufrag")
            .and_then(|attribute| attribute.text());
        let has_password = media.inherited("ice-pwd").is_some();
        let ice = fragment.filter(|text| {
            profile.is_some() && has_password && text.len() <= limits::ICE_FRAGMENT_BYTES_MAX
        });
        Ok(Self {
            class: class(media),
            profile,
            crypto: None,
            remote: media.remote(),
            remote_rtcp: media.remote_rtcp(),
            has_rtcp_mux,
            ice: ice.map(str::to_owned),
            flow: media.flow(),
            clock_rates: clock_rates(media),
        })
    }

    /// Addresses of clients are never destinations: packets go where authenticated ones came from.
    const fn forget_remote(&mut self) {
        self.remote = None;
        self.remote_rtcp = None;
    }

    fn check_remote(&self, media: &Media<'_>, settings: &AnchorSettings) -> Result<(), Refusal> {
        if media.is_held() {
            return Ok(());
        }
        let Some(remote) = self.remote else {
            return Err(Refusal::InnerAddress); // a name, or nothing
        };
        let is_allowed = |at: SocketAddr| settings.may_reach(at.ip());
        if is_allowed(remote) && self.remote_rtcp.is_none_or(is_allowed) {
            Ok(())
        } else {
            Err(Refusal::InnerAddress)
        }
    }
}

/// The client's keys: the suite in use, else its best line that is not the suite with short tags, else that one.
fn client_keys(
    media: &Media<'_>,
    profile: RtpProfile,
    kept: Option<SrtpSuite>,
) -> Result<CryptoLine, Refusal> {
    let has_fingerprint = media.inherited("fingerprint").is_some();
    match profile.protected {
        Protected::Dtls => Err(Refusal::DtlsOnly),
        Protected::Srtp | Protected::No => match choose(media, kept) {
            Some(line) => Ok(line),
            None if has_fingerprint => Err(Refusal::DtlsOnly),
            None if profile.protected == Protected::No => Err(Refusal::PlainRtp),
            None => Err(Refusal::NoKeys),
        },
    }
}

fn inner_keys(
    media: &Media<'_>,
    profile: RtpProfile,
    policy: MediaPolicy,
    kept: Option<SrtpSuite>,
) -> Result<Option<CryptoLine>, Refusal> {
    match (profile.protected, policy) {
        (Protected::Dtls, _) => Err(Refusal::NoKeysInside),
        (Protected::Srtp, _) => choose(media, kept).map(Some).ok_or(Refusal::NoKeysInside),
        (Protected::No, MediaPolicy::Srtp) => {
            choose(media, kept).map(Some).ok_or(Refusal::PlainRtpInside)
        }
        (Protected::No, MediaPolicy::AsOffered) => Ok(choose(media, kept)),
        (Protected::No, MediaPolicy::Rtp) => Ok(None),
    }
}

fn choose(media: &Media<'_>, kept: Option<SrtpSuite>) -> Option<CryptoLine> {
    let lines: SmallVec<[CryptoLine; 4]> = crypto_lines(media).collect();
    let has_long_tags = |line: &&CryptoLine| line.suite() != Some(SrtpSuite::AesCm128HmacSha1_32);
    let is_kept = |line: &&CryptoLine| kept.is_some() && line.suite() == kept;
    let best = lines.iter().find(is_kept);
    let best = best.or_else(|| lines.iter().find(has_long_tags));
    best.or_else(|| lines.first()).cloned()
}

/// The lines that can be used, in the peer's order.
fn crypto_lines<'d>(media: &Media<'d>) -> impl Iterator<Item = CryptoLine> + 'd {
    media
        .attributes()
        .filter(|attribute| attribute.name == b"crypto")
        .take(limits::SDP_CRYPTO_LINES_MAX)
        .filter_map(|attribute| CryptoLine::parse(attribute.text()?).ok())
}

/// What an m-line is for.
fn class(media: &Media<'_>) -> MediaClass {
    let fields = media.fields();
    let protocol = fields.protocol.to_ascii_uppercase();
    match (fields.kind, Transport::parse(fields.protocol)) {
        ("audio", Transport::Rtp(_)) => MediaClass::Audio,
        ("video", Transport::Rtp(_)) if is_presentation(media) => MediaClass::Presentation,
        ("video", Transport::Rtp(_)) => MediaClass::Video,
        (_, Transport::Udp) if protocol.ends_with("/BFCP") => MediaClass::Bfcp,
        (_, Transport::Udp) if protocol.ends_with("/IX") => MediaClass::Ix,
        (_, Transport::Udp) if protocol.ends_with("UDPTL") => MediaClass::T38,
        (_, Transport::Rtp(_) | Transport::Udp | Transport::Foreign) => MediaClass::Other,
    }
}

/// RFC 4796 section 5.
fn is_presentation(media: &Media<'_>) -> bool {
    let content = media.attribute("content").and_then(|c| c.text());
    let mut words = content.unwrap_or_default().split(',');
    words.any(|word| word.trim().eq_ignore_ascii_case("slides"))
}

fn clock_rates(media: &Media<'_>) -> ClockRates {
    let mut rates = ClockRates::default();
    for attribute in media.attributes().filter(|a| a.name == b"rtpmap") {
        if let Some((payload_type, hertz)) = rtpmap(&attribute) {
            rates.insert(payload_type, hertz);
        }
    }
    let formats = str::from_utf8(media.fields().formats).unwrap_or_default();
    for payload_type in formats.split(' ').filter_map(|word| word.parse().ok()) {
        if let Some(hertz) = static_clock_rate(payload_type) {
            rates.insert(payload_type, hertz);
        }
    }
    rates
}

/// `96 opus/48000/2`.
fn rtpmap(attribute: &Attribute<'_>) -> Option<(u8, u32)> {
    let (payload_type, encoding) = attribute.text()?.trim().split_once(' ')?;
    let hertz = encoding.split('/').nth(1)?;
    Some((payload_type.parse().ok()?, hertz.trim().parse().ok()?))
}

/// RFC 3551 section 6.
const fn static_clock_rate(payload_type: u8) -> Option<u32> {
    match payload_type {
        0 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 13 | 15 | 18 => Some(8_000),
        6 => Some(16_000),
        10 | 11 => Some(44_100),
        14 | 25 | 26 | 28 | 31 | 32 | 33 | 34 => Some(90_000),
        16 => Some(11_025),
        17 => Some(22_050),
        _ => None,
    }
}
