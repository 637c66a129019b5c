//! The lines of a session description, by their place: nothing is copied and nothing normalised.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use sdp_types::Rtcp;

use crate::limits;

/// Why bytes are not a session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// The line of this number (from 1) is not what may stand there.
    #[error("line {0} of the session description is not understood")]
    Line(usize),
    /// Longer than [`limits::SDP_BYTES_MAX`].
    #[error("the session description is too long")]
    TooLong,
    /// More m-lines than [`limits::SDP_MEDIA_MAX`].
    #[error("the session description has too many media lines")]
    TooManyMedia,
    /// Does not begin with `v=0`.
    #[error("the session description does not begin with v=0")]
    Version,
}

/// One line: `kind=value`, then its end (CR LF, LF, or nothing at the end of the text).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The letter; 0 for an empty line after all others.
    pub(super) kind: u8,
    pub(super) start: usize,
    pub(super) value_end: usize,
    pub(super) end: usize,
}

/// A session description and where its lines are.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    bytes: &'a [u8],
    lines: Vec<Line>,
    /// The places of the m-lines in `lines`.
    media: Vec<usize>,
}

/// One m-line with the lines below it.
#[derive(Clone, Copy, Debug)]
pub struct Media<'d> {
    description: &'d Description<'d>,
    index: usize,
    fields: MediaFields<'d>,
}

/// The fields of an m-line (RFC 8866 section 5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaFields<'d> {
    /// `audio`, `video`, `application`, ..
    pub kind: &'d str,
    /// 0 for a line that is rejected or not used.
    pub port: u16,
    /// `RTP/SAVP`, `UDP/BFCP`, ..
    pub protocol: &'d str,
    /// The formats as they stand there.
    pub formats: &'d [u8],
}

/// An attribute: `a=name` or `a=name:value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'d> {
    /// Before the colon.
    pub name: &'d [u8],
    /// After the colon.
    pub value: Option<&'d [u8]>,
}

impl<'d> Attribute<'d> {
    /// The value if there is one and it is text.
    #[must_use]
    pub fn text(&self) -> Option<&'d str> {
        self.value.and_then(|value| str::from_utf8(value).ok())
    }
}

/// Which ways one side wants media to flow (RFC 3264 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// It sends.
    pub sends: bool,
    /// It receives.
    pub receives: bool,
}

impl<'a> Description<'a> {
    /// Finds the lines of a description.
    ///
    /// # Errors
    /// [`DescriptionError`] if it is over a limit or has a line that no description may have: then two readers could see
    /// two different descriptions.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DescriptionError> {
        if bytes.len() > limits::SDP_BYTES_MAX {
            return Err(DescriptionError::TooLong);
        }
        let mut lines = Vec::with_capacity(48);
        let mut start = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = read_line(piece, start, lines.last())
                .ok_or(DescriptionError::Line(lines.len() + 1))?;
            start = line.end;
            lines.push(line);
        }
        let places = lines.iter().enumerate();
        let media = places.filter(|(_, line)| line.kind == b'm');
        let description = Self {
            bytes,
            media: media.map(|(place, _)| place).collect(),
            lines,
        };
        description.check()?;
        Ok(description)
    }

    fn check(&self) -> Result<(), DescriptionError> {
        if self.media.len() > limits::SDP_MEDIA_MAX {
            return Err(DescriptionError::TooManyMedia);
        }
        let first = self.lines.first();
        if !first.is_some_and(|line| line.kind == b'v' && self.value(line).trim_ascii() == b"0") {
            return Err(DescriptionError::Version);
        }
        for (index, place) in self.media.iter().enumerate() {
            if self.fields(index).is_none() {
                return Err(DescriptionError::Line(place + 1));
            }
        }
        let first_media = self.session().end;
        let mut origins = 0;
        let mut connections = 0;
        for (place, line) in self.lines.iter().enumerate() {
            let is_wrong = match line.kind {
                b'v' => place > 0,
                b'o' => {
                    origins += 1;
                    origins > 1 || place > first_media || self.address(place).is_none()
                }
                b'c' => {
                    connections += usize::from(place < first_media);
                    connections > 1 || self.address(place).is_none()
                }
                _ => false,
            };
            if is_wrong {
                return Err(DescriptionError::Line(place + 1));
            }
        }
        Ok(())
    }

    /// The text as it came.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of m-lines.
    #[must_use]
    pub fn media_count(&self) -> usize {
        self.media.len()
    }

    /// The m-lines in their order.
    pub fn media(&self) -> impl Iterator<Item = Media<'_>> + '_ {
        (0..self.media.len()).filter_map(|index| {
            Some(Media {
                description: self,
                index,
                fields: self.fields(index)?,
            })
        })
    }

    /// The attributes above the first m-line.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> + '_ {
        self.attributes_in(self.session())
    }

    /// The first attribute of that name above the first m-line.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.attributes()
            .find(|attribute| attribute.name == name.as_bytes())
    }

    /// Whether an address of zero (RFC 3264 section 8.4, the old form of hold) means hold here: with ICE it means that
    /// addresses follow.
    pub(super) fn may_hold(&self) -> bool {
        let all = self.attributes_in(0..self.lines.len());
        !all.into_iter()
            .any(|attribute| attribute.name == b"ice-ufrag")
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub(super) fn kind(&self, place: usize) -> u8 {
        self.lines.get(place).map_or(0, |line| line.kind)
    }

    /// The lines above the first m-line.
    pub(super) fn session(&self) -> Range<usize> {
        0..self.media.first().copied().unwrap_or(self.lines.len())
    }

    /// An m-line and the lines below it.
    pub(super) fn section(&self, index: usize) -> Range<usize> {
        let end = self.lines.len();
        let start = self.media.get(index).copied().unwrap_or(end);
        start..self.media.get(index + 1).copied().unwrap_or(end)
    }

    pub(super) fn value(&self, line: &Line) -> &'a [u8] {
        self.bytes
            .get(line.start + 2..line.value_end)
            .unwrap_or_default()
    }

    pub(super) fn text(&self, place: usize) -> &'a [u8] {
        self.lines
            .get(place)
            .map(|line| self.value(line))
            .unwrap_or_default()
    }

    pub(super) fn attributes_in(
        &self,
        places: Range<usize>,
    ) -> impl Iterator<Item = Attribute<'_>> + '_ {
        let lines = self.lines.get(places.clone()).unwrap_or_default();
        let lines = places.zip(lines).filter(|(_, line)| line.kind == b'a');
        lines.map(|(_, line)| self.attribute_at(line))
    }

    fn attribute_at(&self, line: &Line) -> Attribute<'a> {
        let value = self.value(line);
        let mut halves = value.splitn(2, |byte| *byte == b':');
        Attribute {
            name: halves.next().unwrap_or_default().trim_ascii(),
            value: halves.next(),
        }
    }

    fn fields(&self, index: usize) -> Option<MediaFields<'a>> {
        let mut rest = self.text(*self.media.get(index)?);
        let kind = word(&mut rest)?;
        let port = word(&mut rest)?;
        let port = port.split('/').next().unwrap_or(port);
        let protocol = word(&mut rest)?;
        Some(MediaFields {
            kind,
            port: digits(port)?,
            protocol,
            formats: rest,
        })
    }

    /// The address of an `o=` or `c=` line as text: the last of its words.
    fn address(&self, place: usize) -> Option<&'a str> {
        let text = self.text(place);
        let wanted = match self.kind(place) {
            b'o' => 6,
            _ => 3,
        };
        let words = text.split(|byte| *byte == b' ');
        let mut words = words.filter(|word| !word.is_empty());
        let address = str::from_utf8(words.nth(wanted - 1)?).ok()?;
        words.next().is_none().then_some(address)
    }

    /// What a `c=` line names.
    pub(super) fn connection(&self, place: usize) -> Option<IpAddr> {
        let address = self.address(place)?.split('/').next()?; // time to live, number of groups
        let address: IpAddr = address.parse().ok()?;
        Some(address.to_canonical())
    }
}

/// One line out of a piece of text that ends in LF or at the end of the text.
fn read_line(piece: &[u8], start: usize, previous: Option<&Line>) -> Option<Line> {
    let end = start + piece.len();
    let value = match piece.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => piece,
    };
    let kind = match value {
        [] => 0,
        [kind @ b'a'..=b'z', b'=', ..] => *kind,
        _ => return None,
    };
    let is_ended = previous.is_some_and(|line| line.kind == 0);
    let has_control = value.iter().any(|byte| matches!(byte, 0 | b'\r'));
    if (is_ended && kind != 0) || has_control {
        return None;
    }
    Some(Line {
        kind,
        start,
        value_end: start + value.len(),
        end,
    })
}

/// The next word of a line; `rest` goes on behind the one space after it.
fn word<'d>(rest: &mut &'d [u8]) -> Option<&'d str> {
    let text: &'d [u8] = rest;
    let mut halves = text.splitn(2, |byte| *byte == b' ');
    let word = halves.next()?;
    *rest = halves.next().unwrap_or_default();
    let word = str::from_utf8(word).ok()?;
    (!word.is_empty()).then_some(word)
}

/// A number of digits only: `parse` alone takes a sign.
fn digits(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

impl<'d> Media<'d> {
    /// Its place among the m-lines, from 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The fields of the m-line itself.
    #[must_use]
    pub const fn fields(&self) -> MediaFields<'d> {
        self.fields
    }

    /// The attributes below it.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'d>> + 'd {
        self.description
            .attributes_in(self.description.section(self.index))
    }

    /// The first attribute of that name below it.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Attribute<'d>> {
        self.attributes()
            .find(|attribute| attribute.name == name.as_bytes())
    }

    /// The first attribute of that name below it, else above the first m-line.
    #[must_use]
    pub fn inherited(&self, name: &str) -> Option<Attribute<'d>> {
        self.attribute(name)
            .or_else(|| self.description.attribute(name))
    }

    /// Where its side receives: the address of its own `c=`, else that of the session; `None` if that is no address.
    #[must_use]
    pub fn connection(&self) -> Option<IpAddr> {
        let own = self.description.section(self.index);
        let session = self.description.session();
        let place = own
            .chain(session)
            .find(|place| self.description.kind(*place) == b'c')?;
        self.description.connection(place)
    }

    /// Where its side receives RTP, unless it is on hold.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        let address = self.connection().filter(|a| !a.is_unspecified())?;
        (self.fields.port != 0).then(|| SocketAddr::new(address, self.fields.port))
    }

    /// Where its side receives RTCP (RFC 3605): as it says, else at the next port.
    #[must_use]
    pub fn remote_rtcp(&self) -> Option<SocketAddr> {
        let rtp = self.remote()?;
        let told = self
            .attribute("rtcp")
            .and_then(|attribute| attribute.text());
        let Some(told) = told.and_then(|text| text.trim().parse::<Rtcp>().ok()) else {
            return Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?));
        };
        let address = told.connection_address.as_deref().map(str::parse);
        let address: IpAddr = address.and_then(Result::ok).unwrap_or_else(|| rtp.ip());
        (told.port != 0).then(|| SocketAddr::new(address.to_canonical(), told.port))
    }

    /// Whether RTP and RTCP may share a port (RFC 5761).
    #[must_use]
    pub fn has_rtcp_mux(&self) -> bool {
        self.attribute("rtcp-mux").is_some() || self.attribute("rtcp-mux-only").is_some()
    }

    /// Which ways its side wants media to flow; with the old form of hold (`c=0.0.0.0`) it receives nothing.
    #[must_use]
    pub fn flow(&self) -> Flow {
        let own = self.attributes();
        let words = own.chain(self.description.attributes());
        let (sends, receives) = words
            .filter(|attribute| attribute.value.is_none())
            .find_map(|attribute| match attribute.name {
                b"sendrecv" => Some((true, true)),
                b"sendonly" => Some((true, false)),
                b"recvonly" => Some((false, true)),
                b"inactive" => Some((false, false)),
                _ => None,
            })
            .unwrap_or((true, true));
        Flow {
            sends,
            receives: receives && !self.is_held(),
        }
    }

    /// On hold by an address of zero.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let connection = self.connection();
        connection.is_some_and(|a| a.is_unspecified()) && self.description.may_hold()
    }
}
