//! Header names (RFC 3261 section 7.3.3 and the IANA registry), full and compact, in any letter case.

use std::fmt;

macro_rules! names {
    ($($variant:ident $text:literal $($compact:literal)?,)*) => {
        /// The header fields that have a name here; all others are [`Name::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Name {
            $(
                #[doc = concat!("`", $text, "`.")]
                $variant,
            )*
            /// Any other.
            Other,
        }

        impl Name {
            /// Every name but [`Name::Other`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The full name as it is written; empty for [`Name::Other`].
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other => "",
                }
            }

            /// The compact form in lower case.
            #[must_use]
            pub const fn compact(self) -> Option<u8> {
                match self {
                    $($(Self::$variant => Some($compact),)?)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    Accept "Accept",
    AcceptContact "Accept-Contact" b'a',
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AlertInfo "Alert-Info",
    Allow "Allow",
    AllowEvents "Allow-Events" b'u',
    AuthenticationInfo "Authentication-Info",
    Authorization "Authorization",
    CallId "Call-ID" b'i',
    CallInfo "Call-Info",
    Contact "Contact" b'm',
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" b'e',
    ContentLength "Content-Length" b'l',
    ContentType "Content-Type" b'c',
    CSeq "CSeq",
    Date "Date",
    Diversion "Diversion",
    Event "Event" b'o',
    Expires "Expires",
    FlowTimer "Flow-Timer",
    From "From" b'f',
    HistoryInfo "History-Info",
    Identity "Identity" b'y',
    InReplyTo "In-Reply-To",
    Join "Join",
    MaxBreadth "Max-Breadth",
    MaxForwards "Max-Forwards",
    MimeVersion "MIME-Version",
    MinExpires "Min-Expires",
    MinSe "Min-SE",
    PAccessNetworkInfo "P-Access-Network-Info",
    PAssertedIdentity "P-Asserted-Identity",
    PAssertedService "P-Asserted-Service",
    PAssociatedUri "P-Associated-URI",
    PCalledPartyId "P-Called-Party-ID",
    PPreferredIdentity "P-Preferred-Identity",
    PPreferredService "P-Preferred-Service",
    Path "Path",
    Privacy "Privacy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    RAck "RAck",
    Reason "Reason",
    RecordRoute "Record-Route",
    ReferTo "Refer-To" b'r',
    ReferredBy "Referred-By" b'b',
    RejectContact "Reject-Contact" b'j',
    RemotePartyId "Remote-Party-ID",
    Replaces "Replaces",
    RequestDisposition "Request-Disposition" b'd',
    Require "Require",
    RetryAfter "Retry-After",
    Route "Route",
    RSeq "RSeq",
    Server "Server",
    ServiceRoute "Service-Route",
    SessionExpires "Session-Expires" b'x',
    SessionId "Session-ID",
    SipETag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    Subject "Subject" b's',
    SubscriptionState "Subscription-State",
    Supported "Supported" b'k',
    TargetDialog "Target-Dialog",
    Timestamp "Timestamp",
    To "To" b't',
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    Via "Via" b'v',
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
}

impl Name {
    /// The name that `text` spells, in full or compact, in any letter case.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        if let [letter] = text {
            let letter = letter.to_ascii_lowercase();
            let found = Self::ALL.iter().find(|n| n.compact() == Some(letter));
            return found.copied().unwrap_or(Self::Other);
        }
        let candidates = candidates(text);
        // Nearly everybody writes them in the letter case of the RFC.
        let is_so_written = |name: &&Self| name.as_str().as_bytes() == text;
        let is_it = |name: &&Self| name.as_str().as_bytes().eq_ignore_ascii_case(text);
        let found = candidates.iter().find(is_so_written);
        let found = found.or_else(|| candidates.iter().find(is_it));
        found.copied().unwrap_or(Self::Other)
    }

    /// Whether commas part its values (RFC 3261 section 7.3.1), so that one header field with two of them is the same as two
    /// fields. Not said of headers that are never taken apart here.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(
            self,
            Self::Allow
                | Self::AllowEvents
                | Self::Contact
                | Self::Diversion
                | Self::HistoryInfo
                | Self::PAssertedIdentity
                | Self::PAssociatedUri
                | Self::PPreferredIdentity
                | Self::Path
                | Self::ProxyRequire
                | Self::RecordRoute
                | Self::RemotePartyId
                | Self::Require
                | Self::Route
                | Self::ServiceRoute
                | Self::Supported
                | Self::Unsupported
                | Self::Via
        )
    }
}

/// The names with the length and the first letter of `text`: three at most.
#[expect(clippy::too_many_lines, reason = "a table")]
fn candidates(text: &[u8]) -> &'static [Name] {
    let first = text.first().map_or(0, u8::to_ascii_lowercase);
    match (text.len(), first) {
        (2, b't') => &[Name::To],
        (3, b'v') => &[Name::Via],
        (4, b'c') => &[Name::CSeq],
        (4, b'd') => &[Name::Date],
        (4, b'f') => &[Name::From],
        (4, b'j') => &[Name::Join],
        (4, b'p') => &[Name::Path],
        (4, b'r') => &[Name::RAck, Name::RSeq],
        (5, b'a') => &[Name::Allow],
        (5, b'e') => &[Name::Event],
        (5, b'r') => &[Name::Route],
        (6, b'a') => &[Name::Accept],
        (6, b'm') => &[Name::MinSe],
        (6, b'r') => &[Name::Reason],
        (6, b's') => &[Name::Server],
        (7, b'c') => &[Name::Contact, Name::CallId],
        (7, b'e') => &[Name::Expires],
        (7, b'p') => &[Name::Privacy],
        (7, b'r') => &[Name::Require],
        (7, b's') => &[Name::Subject],
        (7, b'w') => &[Name::Warning],
        (8, b'i') => &[Name::Identity],
        (8, b'r') => &[Name::Replaces, Name::ReferTo],
        (8, b's') => &[Name::SipETag],
        (9, b'c') => &[Name::CallInfo],
        (9, b'd') => &[Name::Diversion],
        (9, b's') => &[Name::Supported],
        (9, b't') => &[Name::Timestamp],
        (10, b'a') => &[Name::AlertInfo],
        (10, b'f') => &[Name::FlowTimer],
        (10, b's') => &[Name::SessionId],
        (10, b'u') => &[Name::UserAgent],
        (11, b'i') => &[Name::InReplyTo],
        (11, b'm') => &[Name::MaxBreadth, Name::MinExpires],
        (11, b'r') => &[Name::RetryAfter, Name::ReferredBy],
        (11, b'u') => &[Name::Unsupported],
        (12, b'a') => &[Name::AllowEvents],
        (12, b'c') => &[Name::ContentType],
        (12, b'h') => &[Name::HistoryInfo],
        (12, b'm') => &[Name::MaxForwards, Name::MimeVersion],
        (12, b'r') => &[Name::RecordRoute],
        (12, b's') => &[Name::SipIfMatch],
        (13, b'a') => &[Name::Authorization],
        (13, b'p') => &[Name::ProxyRequire],
        (13, b's') => &[Name::ServiceRoute],
        (13, b't') => &[Name::TargetDialog],
        (14, b'a') => &[Name::AcceptContact],
        (14, b'c') => &[Name::ContentLength],
        (14, b'r') => &[Name::RejectContact],
        (15, b'a') => &[Name::AcceptEncoding, Name::AcceptLanguage],
        (15, b'r') => &[Name::RemotePartyId],
        (15, b's') => &[Name::SessionExpires],
        (16, b'c') => &[Name::ContentEncoding],
        (16, b'p') => &[Name::PAssociatedUri],
        (16, b'w') => &[Name::WwwAuthenticate],
        (17, b'p') => &[Name::PCalledPartyId],
        (18, b'p') => &[Name::ProxyAuthenticate, Name::PAssertedService],
        (18, b's') => &[Name::SubscriptionState],
        (19, b'a') => &[Name::AuthenticationInfo],
        (19, b'c') => &[Name::ContentDisposition],
        (19, b'p') => &[
            Name::ProxyAuthorization,
            Name::PAssertedIdentity,
            Name::PPreferredService,
        ],
        (19, b'r') => &[Name::RequestDisposition],
        (20, b'p') => &[Name::PPreferredIdentity],
        (21, b'p') => &[Name::PAccessNetworkInfo],
        _ => &[],
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_in_its_compact_form() {
        for name in Name::ALL {
            assert_eq!(Name::of(name.as_str().as_bytes()), *name);
            let shouted = name.as_str().to_ascii_uppercase();
            assert_eq!(Name::of(shouted.as_bytes()), *name, "{shouted}");
            if let Some(letter) = name.compact() {
                assert_eq!(Name::of(&[letter]), *name);
                assert_eq!(Name::of(&[letter.to_ascii_uppercase()]), *name);
            }
        }
    }

    #[test]
    fn what_is_not_a_known_name_is_another() {
        for text in [
            &b""[..],
            b"z",
            b"Viaa",
            b"X-Via",
            b"To\0",
            b"Content-Lengti",
        ] {
            assert_eq!(Name::of(text), Name::Other);
        }
    }
}
