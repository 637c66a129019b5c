//! The names of services that clients ask for, and the SIP route they are given.

use std::fmt;
use std::sync::Arc;

use crate::limits;

/// A service whose SRV records are looked up inside: clients can name no other query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KnownService {
    /// `_cisco-phone-tftp`: TFTP servers of hardware endpoints.
    CiscoPhoneTftp,
    /// `_cisco-uds`: UCM nodes.
    CiscoUds,
    /// `_cuplogin`: IM and Presence nodes.
    CupLogin,
}

impl KnownService {
    /// All of them, in the order of the reference document.
    pub const ALL: [Self; 3] = [Self::CiscoPhoneTftp, Self::CupLogin, Self::CiscoUds];

    /// The SRV label, with its underscore.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CiscoPhoneTftp => "_cisco-phone-tftp",
            Self::CiscoUds => "_cisco-uds",
            Self::CupLogin => "_cuplogin",
        }
    }
}

/// The name of a service as a client writes it: an underscore, then letters, digits, `-` or `_`; kept in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

/// The text is not an SRV service label (RFC 2782): `_` and 1 to 62 letters, digits, `-` or `_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a service name is '_' followed by 1 to 62 letters, digits, '-' or '_'")]
pub struct ServiceNameError;

impl ServiceName {
    /// Reads a name in any letter case.
    ///
    /// # Errors
    /// [`ServiceNameError`] if it is not an SRV service label.
    pub fn parse(text: &str) -> Result<Self, ServiceNameError> {
        let rest = text.strip_prefix('_').ok_or(ServiceNameError)?;
        let is_label = !rest.is_empty()
            && text.len() <= limits::SERVICE_NAME_BYTES_MAX
            && rest
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if is_label {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(ServiceNameError)
        }
    }

    /// The service of that name, if it is one that is looked up.
    #[must_use]
    pub fn known(&self) -> Option<KnownService> {
        KnownService::ALL
            .into_iter()
            .find(|service| service.as_str() == &*self.0)
    }

    /// The name with its underscore.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<KnownService> for ServiceName {
    fn from(service: KnownService) -> Self {
        Self(service.as_str().into())
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value for the SIP `Route` header field, such as `<sip:192.0.2.100:5061;transport=tls;lr>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipRoute(Arc<str>);

/// The text can't stand in a SIP header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SIP route is '<sip:..>' in printable ASCII without blanks, at most 512 bytes long")]
pub struct SipRouteError;

impl SipRoute {
    /// Reads one route in angle brackets.
    ///
    /// # Errors
    /// [`SipRouteError`] if it is not in brackets, not a SIP URI, too long or not printable ASCII.
    pub fn parse(text: &str) -> Result<Self, SipRouteError> {
        let uri = text
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix('>'))
            .ok_or(SipRouteError)?;
        let is_sip = uri.starts_with("sip:") || uri.starts_with("sips:");
        let is_plain = uri
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>');
        if is_sip && is_plain && text.len() <= limits::SIP_ROUTE_BYTES_MAX {
            Ok(Self(text.into()))
        } else {
            Err(SipRouteError)
        }
    }

    /// The route with its brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names_are_labels_and_only_three_are_known() {
        assert_eq!(
            ServiceName::parse("_Cisco-UDS").unwrap().known(),
            Some(KnownService::CiscoUds)
        );
        assert_eq!(ServiceName::parse("_ldap").unwrap().known(), None);
        for text in [
            "cisco-uds",
            "_",
            "_a.b",
            "_a b",
            "_<",
            &format!("_{}", "a".repeat(63)),
        ] {
            assert_eq!(ServiceName::parse(text), Err(ServiceNameError), "{text}");
        }
    }

    #[test]
    fn a_route_can_not_break_out_of_its_header_field() {
        assert!(SipRoute::parse("<sip:[2001:db8::1]:5061;transport=tls;lr>").is_ok());
        for text in [
            "",
            "sip:a",
            "<http:a>",
            "<sip:a>\r\nX: y>",
            "<sip:a>,<sip:b>",
            "<sip:a b>",
        ] {
            assert_eq!(SipRoute::parse(text), Err(SipRouteError), "{text}");
        }
    }
}
