//! The values of a message, read where they stand.

use super::{Message, Method, StartSpan};
use crate::sip::address::{Contact, NameAddr};
use crate::sip::auth::{AuthValue, Challenge, Credentials};
use crate::sip::name::Name;
use crate::sip::param::Params;
use crate::sip::scan::{self, Elements, Scanner};
use crate::sip::uri::Uri;
use crate::sip::via::Via;

/// The number and the method of a `CSeq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2^31.
    pub number: u32,
    /// The method.
    pub method: Method,
    /// The method as written.
    pub token: &'a [u8],
}

/// A `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// `application`; compare without case.
    pub kind: &'a [u8],
    /// `sdp`; compare without case.
    pub subtype: &'a [u8],
    /// Such as `boundary`.
    pub params: Params<'a>,
}

impl MediaType<'_> {
    /// Whether it is `kind/subtype`.
    #[must_use]
    pub const fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
            && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }
}

/// An `Event` (RFC 6665 section 8.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The package with its templates.
    pub package: &'a [u8],
    /// Such as `id`.
    pub params: Params<'a>,
}

/// A `Replaces` (RFC 3891), or the same parts of a `Target-Dialog` or `Join`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    /// `Call-ID` of the dialog.
    pub call_id: &'a [u8],
    /// `to-tag`, or `remote-tag`.
    pub to_tag: &'a [u8],
    /// `from-tag`, or `local-tag`.
    pub from_tag: &'a [u8],
    /// Only while it is not yet confirmed.
    pub is_early_only: bool,
}

/// Values of one header in the order of the message; see [`Message::values`].
#[derive(Clone, Debug)]
pub struct Values<'a> {
    message: &'a Message,
    name: Name,
    at: usize,
    elements: Option<Elements<'a>>,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(elements) = &mut self.elements {
                if let Some(element) = elements.find(|element| !element.is_empty()) {
                    return Some(element);
                }
                self.elements = None;
            }
            let rest = self.message.index().fields.get(self.at..)?;
            let found = rest.iter().position(|field| field.name == self.name)?;
            let field = rest.get(found)?;
            self.at = self.at.saturating_add(found).saturating_add(1);
            let value = self.message.slice(&field.value);
            if self.name.is_list() {
                self.elements = Some(Elements::new(value));
            } else {
                return Some(value);
            }
        }
    }
}

impl Message {
    /// The method of a request as written; empty for a response.
    #[must_use]
    pub fn method_token(&self) -> &[u8] {
        match &self.index().start {
            StartSpan::Request { token, .. } => self.slice(token),
            StartSpan::Status { .. } => &[],
        }
    }

    /// The Request-URI; `None` for a response.
    #[must_use]
    pub fn uri(&self) -> Option<Uri<'_>> {
        match &self.index().start {
            StartSpan::Request { uri, .. } if self.is_checked() => Uri::known(self.slice(uri)),
            StartSpan::Request { uri, .. } => Uri::parse(self.slice(uri)).ok(),
            StartSpan::Status { .. } => None,
        }
    }

    /// The values of a header, in order. Of lists (see [`Name::is_list`]) each element by itself, from however many
    /// fields; empty elements are left out.
    #[must_use]
    pub const fn values(&self, name: Name) -> Values<'_> {
        Values {
            message: self,
            name,
            at: 0,
            elements: None,
        }
    }

    /// The values of the fields called `name`, in any letter case, one for each field: for headers without a [`Name`].
    pub fn values_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let is_it = |text: &[u8]| text.eq_ignore_ascii_case(name.as_bytes());
        let fields = self.index().fields.iter();
        fields
            .filter(move |field| is_it(self.slice(&field.text)))
            .map(|field| self.slice(&field.value))
    }

    /// Every field as it is written: its name and its value.
    pub fn headers(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        let fields = self.index().fields.iter();
        fields.map(|field| {
            let text = self.slice(&field.text);
            (field.name, text, self.slice(&field.value))
        })
    }

    /// The first value of a header.
    #[must_use]
    pub fn value(&self, name: Name) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// Whether there is a field of that name.
    #[must_use]
    pub fn has(&self, name: Name) -> bool {
        self.fields(name).next().is_some()
    }

    /// The Via on top: whoever sent this message.
    #[must_use]
    pub fn top_via(&self) -> Option<Via<'_>> {
        self.vias().next()
    }

    /// All of them, the last hop first.
    pub fn vias(&self) -> impl Iterator<Item = Via<'_>> {
        let via: fn(_) -> _ = if self.is_checked() {
            Via::known
        } else {
            |value| Via::parse(value).ok()
        };
        self.values(Name::Via).filter_map(via)
    }

    /// `From`.
    #[must_use]
    pub fn from(&self) -> Option<NameAddr<'_>> {
        self.addresses(Name::From).next()
    }

    /// `To`.
    #[must_use]
    pub fn to(&self) -> Option<NameAddr<'_>> {
        self.addresses(Name::To).next()
    }

    /// The tag of `From`.
    #[must_use]
    #[expect(clippy::wrong_self_convention, reason = "`From` is the header")]
    pub fn from_tag(&self) -> Option<&[u8]> {
        match &self.index().tags {
            Some(tags) => Some(self.slice(&tags.from)).filter(|tag| !tag.is_empty()),
            None => self.from()?.tag(),
        }
    }

    /// The tag of `To`: within a dialog, if there is one.
    #[must_use]
    pub fn to_tag(&self) -> Option<&[u8]> {
        match &self.index().tags {
            Some(tags) => Some(self.slice(&tags.to)).filter(|tag| !tag.is_empty()),
            None => self.to()?.tag(),
        }
    }

    /// `Call-ID`.
    #[must_use]
    pub fn call_id(&self) -> &[u8] {
        self.value(Name::CallId).unwrap_or_default()
    }

    /// `CSeq`.
    #[must_use]
    pub fn cseq(&self) -> CSeq<'_> {
        let value = self.value(Name::CSeq).unwrap_or_default();
        cseq(value).unwrap_or(CSeq {
            number: 0,
            method: Method::Other,
            token: &[],
        })
    }

    /// `Route`, the next hop first.
    pub fn routes(&self) -> impl Iterator<Item = NameAddr<'_>> {
        self.addresses(Name::Route)
    }

    /// `Record-Route`, in order.
    pub fn record_routes(&self) -> impl Iterator<Item = NameAddr<'_>> {
        self.addresses(Name::RecordRoute)
    }

    /// `Path`, in order.
    pub fn paths(&self) -> impl Iterator<Item = NameAddr<'_>> {
        self.addresses(Name::Path)
    }

    /// The values of a header of addresses, in order; those that can't be read are left out.
    pub fn addresses(&self, name: Name) -> impl Iterator<Item = NameAddr<'_>> {
        let address: fn(_) -> _ = if self.is_checked() && is_checked(name) {
            NameAddr::known
        } else {
            |value| NameAddr::parse(value).ok()
        };
        self.values(name).filter_map(address)
    }

    /// `Contact`, in order.
    pub fn contacts(&self) -> impl Iterator<Item = Contact<'_>> {
        self.values(Name::Contact)
            .filter_map(|value| Contact::parse(value).ok())
    }

    /// `Max-Forwards`, 0 to 255.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        let hops = scan::number(self.value(Name::MaxForwards)?)?;
        u8::try_from(hops).ok()
    }

    /// `Expires` in seconds; `None` if it is missing or no number.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.seconds(Name::Expires)
    }

    /// The first number of a header that counts seconds, such as `Min-Expires`, `Retry-After`, `Session-Expires`. One that
    /// is too large counts as the largest.
    #[must_use]
    pub fn seconds(&self, name: Name) -> Option<u32> {
        let value = self.value(name)?;
        let digits = Scanner::new(value).take_while(|byte| byte.is_ascii_digit());
        seconds(digits)
    }

    /// `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> Option<MediaType<'_>> {
        let mut scanner = Scanner::new(self.value(Name::ContentType)?);
        let kind = scanner.token();
        let has_slash = scanner.eat_separator(b'/');
        let subtype = scanner.token();
        let params = Params::parse(scanner.rest()).ok()?;
        (has_slash && !kind.is_empty() && !subtype.is_empty()).then_some(MediaType {
            kind,
            subtype,
            params,
        })
    }

    /// The option tags of `Require`, `Proxy-Require`, `Supported` or `Unsupported`, the methods of `Allow`, the packages of
    /// `Allow-Events`.
    #[must_use]
    pub const fn option_tags(&self, name: Name) -> Values<'_> {
        self.values(name)
    }

    /// Whether an option tag is among them, in any letter case.
    #[must_use]
    pub fn has_option(&self, name: Name, tag: &str) -> bool {
        self.option_tags(name)
            .any(|value| value.eq_ignore_ascii_case(tag.as_bytes()))
    }

    /// `WWW-Authenticate` and `Proxy-Authenticate`, in order.
    pub fn challenges(&self) -> impl Iterator<Item = (Name, Challenge<'_>)> {
        self.auth_values(&[Name::WwwAuthenticate, Name::ProxyAuthenticate])
    }

    /// `Authorization` and `Proxy-Authorization`, in order.
    pub fn credentials(&self) -> impl Iterator<Item = (Name, Credentials<'_>)> {
        self.auth_values(&[Name::Authorization, Name::ProxyAuthorization])
    }

    fn auth_values(&self, names: &'static [Name]) -> impl Iterator<Item = (Name, AuthValue<'_>)> {
        let fields = self.index().fields.iter();
        fields
            .filter(|field| names.contains(&field.name))
            .filter_map(|field| {
                let value = AuthValue::parse(self.slice(&field.value)).ok()?;
                Some((field.name, value))
            })
    }

    /// `Event`.
    #[must_use]
    pub fn event(&self) -> Option<Event<'_>> {
        let mut scanner = Scanner::new(self.value(Name::Event)?);
        let package = scanner.token();
        let params = Params::parse(scanner.rest()).ok()?;
        (!package.is_empty()).then_some(Event { package, params })
    }

    /// `Replaces`.
    #[must_use]
    pub fn replaces(&self) -> Option<Replaces<'_>> {
        replaces(self.value(Name::Replaces)?)
    }

    /// `Target-Dialog` (RFC 4538).
    #[must_use]
    pub fn target_dialog(&self) -> Option<Replaces<'_>> {
        replaces(self.value(Name::TargetDialog)?)
    }
}

/// Headers of addresses that are looked at when a message is parsed.
const fn is_checked(name: Name) -> bool {
    matches!(
        name,
        Name::From | Name::Path | Name::RecordRoute | Name::Route | Name::ServiceRoute | Name::To
    )
}

/// `1*DIGIT LWS Method` (RFC 3261 section 8.1.1.5).
pub(super) fn cseq(value: &[u8]) -> Option<CSeq<'_>> {
    let mut scanner = Scanner::new(value);
    let number = scan::number(scanner.take_while(|byte| byte.is_ascii_digit()))?;
    let number = u32::try_from(number).ok().filter(|n| *n < 1 << 31)?;
    if !scanner.peek().is_some_and(scan::is_lws) {
        return None;
    }
    scanner.skip_lws();
    let token = scanner.token();
    (!token.is_empty() && scanner.is_done()).then_some(CSeq {
        number,
        method: Method::of(token),
        token,
    })
}

fn replaces(value: &[u8]) -> Option<Replaces<'_>> {
    let mut scanner = Scanner::new(value);
    let call_id = scan::trim(scanner.take_until(b';'));
    let params = Params::parse(scanner.rest()).ok()?;
    let tag = |one, other| params.value(one).or_else(|| params.value(other));
    Some(Replaces {
        call_id,
        to_tag: tag("to-tag", "remote-tag")?,
        from_tag: tag("from-tag", "local-tag")?,
        is_early_only: params.has("early-only"),
    })
}

/// Seconds in decimal; a number beyond 32 bits counts as the largest (RFC 3261 section 20.19).
pub(in crate::sip) fn seconds(digits: &[u8]) -> Option<u32> {
    let are_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    are_digits.then(|| {
        scan::number(digits)
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(u32::MAX)
    })
}
