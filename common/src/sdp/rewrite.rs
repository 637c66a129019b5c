//! Writes a description anew with other addresses, ports, profiles and keys. Lines that are neither edited nor dropped
//! keep every byte, their line ends too; m-lines keep number and order whatever the edits are.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use super::crypto::{SrtpKeys, write_crypto};
use super::description::{Attribute, Description, Line};
use super::profile::RtpProfile;

/// What changes above the first m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEdit {
    /// Stands in `o=` and `c=`; on hold (`c=0.0.0.0`) the latter stays.
    pub address: IpAddr,
    /// Say that our ICE agent is a lite one (RFC 8839 section 5.3).
    pub is_ice_lite: bool,
}

/// What becomes of one m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaEdit<'a> {
    /// Port 0: rejected, or not used. The protocol field is replaced by this one, if given.
    Off(Option<&'a str>),
    /// Relayed unread.
    Opaque(Place),
    /// Relayed as RTP.
    Rtp(Place, RtpEdit<'a>),
}

/// Where the m-line's media shall be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// For both ports.
    pub address: IpAddr,
    /// Never 0.
    pub rtp: u16,
    /// The port of RTCP if it has one of its own.
    pub rtcp: u16,
}

/// How RTP is protected and reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpEdit<'a> {
    /// Stands in the m-line.
    pub profile: RtpProfile,
    /// One `a=crypto` line each, with their tags.
    pub crypto: Vec<(u32, SrtpKeys)>,
    /// RTP and RTCP share the port.
    pub rtcp_mux: bool,
    /// Fragment and password of our ICE agent.
    pub ice: Option<(&'a str, &'a str)>,
}

/// Writes `description` with the edits; m-lines without one are switched off.
#[must_use]
pub fn rewrite(
    description: &Description<'_>,
    session: &SessionEdit,
    media: &[MediaEdit<'_>],
) -> Vec<u8> {
    let mut writer = Writer::new(description, session.address);
    writer.session(session);
    for index in 0..description.media_count() {
        match media.get(index) {
            Some(edit) => writer.media(index, edit),
            None => writer.media(index, &MediaEdit::Off(None)),
        }
    }
    writer.out
}

struct Writer<'d> {
    description: &'d Description<'d>,
    out: Vec<u8>,
    line_end: &'static str,
    session_address: IpAddr,
    may_hold: bool,
}

impl<'d> Writer<'d> {
    fn new(description: &'d Description<'d>, session_address: IpAddr) -> Self {
        let bytes = description.as_bytes();
        let first = description.lines().first();
        let first = first.and_then(|line| bytes.get(line.value_end..line.end));
        Self {
            description,
            out: Vec::with_capacity(bytes.len() + 512),
            line_end: if first == Some(b"\n") { "\n" } else { "\r\n" },
            session_address,
            may_hold: description.may_hold(),
        }
    }

    fn session(&mut self, edit: &SessionEdit) {
        let keeps_dtls = self.needs_session_fingerprint();
        for place in self.description.session() {
            match self.description.kind(place) {
                b'o' => self.origin(place),
                b'c' => self.connection(place, edit.address),
                b'a' => {
                    let attribute = self.attribute(place);
                    let is_dropped = attribute.is_some_and(|attribute| match attribute.name {
                        b"fingerprint" | b"setup" | b"tls-id" => !keeps_dtls,
                        b"group" => is_bundle(&attribute),
                        name => is_ice(name) || is_key(name) || is_capability(name),
                    });
                    if !is_dropped {
                        self.keep(place);
                    }
                }
                0 => {} // written after what is added
                _ => self.keep(place),
            }
        }
        if edit.is_ice_lite {
            self.add(format_args!("a=ice-lite"));
        }
        self.empty_lines(self.description.session());
    }

    fn media(&mut self, index: usize, edit: &MediaEdit<'_>) {
        let section = self.description.section(index);
        let Some(media) = self.description.media().nth(index) else {
            return;
        };
        let fields = media.fields();
        let mut places = section.clone();
        let Some(first) = places.next() else {
            return;
        };
        match edit {
            MediaEdit::Off(protocol) => {
                let protocol = protocol.unwrap_or(fields.protocol);
                if fields.port == 0 && protocol == fields.protocol {
                    self.keep(first);
                } else {
                    self.media_line(first, 0, protocol);
                }
            }
            MediaEdit::Opaque(place) => self.media_line(first, place.rtp, fields.protocol),
            MediaEdit::Rtp(place, rtp) => {
                // The same profile in other letters is not ours to correct.
                let profile = rtp.profile.as_str();
                let is_same = profile.eq_ignore_ascii_case(fields.protocol);
                let protocol = if is_same { fields.protocol } else { profile };
                self.media_line(first, place.rtp, protocol);
            }
        }
        if self.description.kind(first + 1) == b'i' && !places.is_empty() {
            self.keep(first + 1);
            places.next();
        }
        self.own_connection(&section, edit);
        for place in places {
            self.media_detail(place, edit);
        }
        if let MediaEdit::Rtp(place, rtp) = edit {
            self.rtp_attributes(place, rtp, media.attribute("rtcp").is_some());
        }
        self.empty_lines(section);
    }

    /// One line below an m-line.
    fn media_detail(&mut self, place: usize, edit: &MediaEdit<'_>) {
        match (self.description.kind(place), edit) {
            (0, _) => {}
            (b'c', MediaEdit::Off(_)) => self.connection(place, self.session_address),
            (b'c', MediaEdit::Opaque(at) | MediaEdit::Rtp(at, _)) => {
                self.connection(place, at.address);
            }
            (b'a', _) => self.media_attribute(place, edit),
            _ => self.keep(place),
        }
    }

    fn media_attribute(&mut self, place: usize, edit: &MediaEdit<'_>) {
        let Some(attribute) = self.attribute(place) else {
            return;
        };
        let name = attribute.name;
        let is_dtls = matches!(name, b"fingerprint" | b"setup" | b"tls-id");
        let is_mux = matches!(name, b"rtcp-mux" | b"rtcp-mux-only" | b"bundle-only");
        match edit {
            MediaEdit::Opaque(_) if is_ice(name) => {}
            MediaEdit::Opaque(_) => self.keep(place),
            MediaEdit::Off(_) | MediaEdit::Rtp(..)
                if is_ice(name) || is_key(name) || is_dtls || is_mux => {}
            MediaEdit::Off(_) if name == b"rtcp" => {}
            MediaEdit::Rtp(..) if is_capability(name) => {}
            MediaEdit::Rtp(at, rtp) if name == b"rtcp" => {
                let port = if rtp.rtcp_mux { at.rtp } else { at.rtcp };
                let (family, address) = family(at.address);
                self.replace(place, format_args!("a=rtcp:{port} IN {family} {address}"));
            }
            MediaEdit::Off(_) | MediaEdit::Rtp(..) => self.keep(place),
        }
    }

    /// What we have to say about RTP ourselves, below everything else of the m-line.
    fn rtp_attributes(&mut self, place: &Place, rtp: &RtpEdit<'_>, has_rtcp: bool) {
        if rtp.rtcp_mux {
            self.add(format_args!("a=rtcp-mux"));
        } else if !has_rtcp && place.rtp.checked_add(1) != Some(place.rtcp) {
            self.add(format_args!("a=rtcp:{}", place.rtcp));
        }
        for (tag, keys) in &rtp.crypto {
            self.add(format_args!("a=crypto:{}", write_crypto(*tag, keys)));
        }
        let Some((fragment, password)) = rtp.ice else {
            return;
        };
        self.add(format_args!("a=ice-ufrag:{fragment}"));
        self.add(format_args!("a=ice-pwd:{password}"));
        // RFC 8445 section 5.1.2: type preference 126, local preference 65535, component 1 and 2.
        let address = place.address;
        self.add(format_args!(
            "a=candidate:1 1 UDP 2130706431 {address} {} typ host",
            place.rtp
        ));
        if !rtp.rtcp_mux {
            self.add(format_args!(
                "a=candidate:1 2 UDP 2130706430 {address} {} typ host",
                place.rtcp
            ));
        }
    }

    /// A `c=` for an m-line that has none, where that of the session is missing or another one.
    fn own_connection(&mut self, section: &Range<usize>, edit: &MediaEdit<'_>) {
        let (MediaEdit::Opaque(place) | MediaEdit::Rtp(place, _)) = edit else {
            return;
        };
        let is_connection = |at: &usize| self.description.kind(*at) == b'c';
        if section.clone().any(|at| is_connection(&at)) {
            return;
        }
        let session = self.description.session().find(is_connection);
        let is_fine =
            session.is_some_and(|at| place.address == self.session_address || self.is_held(at));
        if !is_fine {
            let (family, address) = family(place.address);
            self.add(format_args!("c=IN {family} {address}"));
        }
    }

    fn origin(&mut self, place: usize) {
        let text = self.description.text(place);
        let words = text.split(|byte| *byte == b' ').filter(|w| !w.is_empty());
        self.out.extend_from_slice(b"o=");
        for word in words.take(3) {
            self.out.extend_from_slice(word);
            self.out.push(b' ');
        }
        let (family, address) = family(self.session_address);
        self.print(format_args!("IN {family} {address}"));
        self.end_of(place);
    }

    fn connection(&mut self, place: usize, address: IpAddr) {
        if self.is_held(place) {
            self.keep(place);
            return;
        }
        let (family, address) = family(address);
        self.replace(place, format_args!("c=IN {family} {address}"));
    }

    /// The old form of hold (RFC 3264 section 8.4): no address at all.
    fn is_held(&self, place: usize) -> bool {
        let address = self.description.connection(place);
        self.may_hold && address.is_some_and(|address| address.is_unspecified())
    }

    fn media_line(&mut self, place: usize, port: u16, protocol: &str) {
        let text = self.description.text(place);
        let mut fields = text.splitn(4, |byte| *byte == b' ');
        let kind = fields.next().unwrap_or_default();
        let formats = fields.nth(2);
        self.out.extend_from_slice(b"m=");
        self.out.extend_from_slice(kind);
        self.print(format_args!(" {port} {protocol}"));
        if let Some(formats) = formats {
            self.out.push(b' ');
            self.out.extend_from_slice(formats);
        }
        self.end_of(place);
    }

    /// DTLS below lines that are relayed unread goes on between the ends, with the fingerprint of the session.
    fn needs_session_fingerprint(&self) -> bool {
        self.description.media().any(|media| {
            let protocol = media.fields().protocol.to_ascii_uppercase();
            protocol.starts_with("UDP/") && protocol.contains("TLS/") && !protocol.contains("/RTP/")
        })
    }

    fn attribute(&self, place: usize) -> Option<Attribute<'d>> {
        self.description.attributes_in(place..place + 1).next()
    }

    /// Empty lines stand at the end of the whole text only.
    fn empty_lines(&mut self, places: Range<usize>) {
        for place in places {
            if self.description.kind(place) == 0 {
                self.keep(place);
            }
        }
    }

    fn keep(&mut self, place: usize) {
        let line = self.description.lines().get(place);
        let bytes = line.and_then(|line| self.description.as_bytes().get(line.start..line.end));
        self.begin();
        self.out.extend_from_slice(bytes.unwrap_or_default());
    }

    fn replace(&mut self, place: usize, text: std::fmt::Arguments<'_>) {
        self.begin();
        self.print(text);
        self.end_of(place);
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        self.begin();
        self.print(text);
        self.out.extend_from_slice(self.line_end.as_bytes());
    }

    /// The last line of a text may lack its end; it gets one as soon as another line follows.
    fn begin(&mut self) {
        if self.out.last().is_some_and(|byte| *byte != b'\n') {
            self.out.extend_from_slice(self.line_end.as_bytes());
        }
    }

    fn print(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a Vec does not fail.
        drop(self.out.write_fmt(text));
    }

    /// The line end that stood there.
    fn end_of(&mut self, place: usize) {
        let bytes = self.description.as_bytes();
        let line: Option<&Line> = self.description.lines().get(place);
        let end = line.and_then(|line| bytes.get(line.value_end..line.end));
        self.out.extend_from_slice(end.unwrap_or_default());
    }
}

/// `IP4` or `IP6`, and the address.
const fn family(address: IpAddr) -> (&'static str, IpAddr) {
    match address {
        IpAddr::V4(_) => ("IP4", address),
        IpAddr::V6(_) => ("IP6", address),
    }
}

/// Checks of connectivity end at the pair.
fn is_ice(name: &[u8]) -> bool {
    name.starts_with(b"ice-")
        || matches!(
            name,
            b"candidate" | b"remote-candidates" | b"end-of-candidates"
        )
}

/// Keys end at the pair.
fn is_key(name: &[u8]) -> bool {
    matches!(name, b"crypto" | b"key-mgmt")
}

/// Other profiles and keys to choose from (RFC 5939): a choice that is not ours could not be kept to.
fn is_capability(name: &[u8]) -> bool {
    matches!(
        name,
        b"acap" | b"acfg" | b"tcap" | b"pcfg" | b"csup" | b"creq"
    )
}

/// Several m-lines on one port need one port on both sides.
fn is_bundle(attribute: &Attribute<'_>) -> bool {
    let first = attribute
        .value
        .and_then(|value| value.split(|byte| *byte == b' ').next());
    first == Some(b"BUNDLE")
}
