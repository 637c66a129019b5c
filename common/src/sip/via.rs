//! Via values (RFC 3261 section 20.42, RFC 3581).

use std::net::IpAddr;

use super::message::Fault;
use super::param::Params;
use super::scan::Scanner;
use super::uri;

/// The beginning of every branch that is unique by itself (RFC 3261 section 8.1.1.7).
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// One hop of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    whole: &'a [u8],
    transport: &'a [u8],
    sent_by: &'a [u8],
    host: &'a [u8],
    port: Option<u16>,
    params: Params<'a>,
}

/// What a Via says about `rport` (RFC 3581 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rport {
    /// Nothing.
    Absent,
    /// The sender asks for it.
    Asked,
    /// It was filled in.
    Filled(u16),
}

impl<'a> Via<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// [`Fault::Via`] if it is none, [`Fault::TooManyParameters`].
    pub fn parse(whole: &'a [u8]) -> Result<Self, Fault> {
        Self::read(whole, Params::parse)
    }

    /// What [`Self::parse`] has taken before: only looks for its parts.
    pub(super) fn known(whole: &'a [u8]) -> Option<Self> {
        Self::read(whole, |text| Ok(Params::known(text))).ok()
    }

    fn read(
        whole: &'a [u8],
        params: impl FnOnce(&'a [u8]) -> Result<Params<'a>, Fault>,
    ) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(whole);
        let is_sip = scanner.token().eq_ignore_ascii_case(b"SIP")
            && scanner.eat_separator(b'/')
            && scanner.token() == b"2.0"
            && scanner.eat_separator(b'/');
        let transport = scanner.token();
        let gap = scanner.rest().len();
        scanner.skip_lws();
        if !is_sip || transport.is_empty() || scanner.rest().len() == gap {
            return Err(Fault::Via);
        }
        let sent_by = super::scan::trim(scanner.take_until(b';'));
        let (host, port) = uri::host_and_port(sent_by).ok_or(Fault::Via)?;
        let params = params(scanner.rest()).map_err(|fault| {
            if fault == Fault::TooManyParameters {
                fault
            } else {
                Fault::Via
            }
        })?;
        Ok(Self {
            whole,
            transport,
            sent_by,
            host,
            port,
            params,
        })
    }

    /// The value as it was written.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.whole
    }

    /// `UDP`, `TCP`, `TLS`, `WS`, `WSS` or another, in the letter case of the message.
    #[must_use]
    pub const fn transport(&self) -> &'a [u8] {
        self.transport
    }

    /// Host and port as written.
    #[must_use]
    pub const fn sent_by(&self) -> &'a [u8] {
        self.sent_by
    }

    /// The host as written, IPv6 in brackets.
    #[must_use]
    pub const fn host(&self) -> &'a [u8] {
        self.host
    }

    /// The host as an address, if it is one.
    #[must_use]
    pub fn host_ip(&self) -> Option<IpAddr> {
        uri::to_ip(self.host)
    }

    /// The port, if one is written.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Its parameters.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The branch, if there is one that is not empty.
    #[must_use]
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value("branch").filter(|text| !text.is_empty())
    }

    /// The branch, if it is unique by itself: begins with `z9hG4bK` and goes on.
    #[must_use]
    pub fn unique_branch(&self) -> Option<&'a [u8]> {
        self.branch().filter(|branch| {
            branch
                .split_at_checked(MAGIC_COOKIE.len())
                .is_some_and(|(start, rest)| {
                    start.eq_ignore_ascii_case(MAGIC_COOKIE) && !rest.is_empty()
                })
        })
    }

    /// The address in `received`; IPv6 with or without brackets (RFC 5118 section 4.5).
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.value("received")?;
        uri::to_ip(text)
    }

    /// What it says about `rport`.
    #[must_use]
    pub fn rport(&self) -> Rport {
        match self.params.find("rport") {
            None => Rport::Absent,
            Some(param) => super::scan::number(param.text())
                .and_then(|port| u16::try_from(port).ok())
                .map_or(Rport::Asked, Rport::Filled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_via_is_read_in_its_parts() {
        let via = Via::parse(
            b"SIP / 2.0 / TLS [2001:db8::9:1]:5061 ;branch=z9hG4bKa;received=[::1];rport",
        )
        .unwrap();

        assert_eq!(via.transport(), b"TLS");
        assert_eq!(via.sent_by(), b"[2001:db8::9:1]:5061");
        assert_eq!(via.host_ip(), "2001:db8::9:1".parse().ok());
        assert_eq!(via.port(), Some(5061));
        assert_eq!(via.unique_branch(), Some(&b"z9hG4bKa"[..]));
        assert_eq!(via.received(), "::1".parse().ok());
        assert_eq!(via.rport(), Rport::Asked);
    }

    #[test]
    fn only_the_cookie_is_no_unique_branch() {
        let via = Via::parse(b"SIP/2.0/UDP a;branch=z9hG4bK;rport=5060").unwrap();

        assert_eq!(via.unique_branch(), None);
        assert_eq!(via.rport(), Rport::Filled(5060));
    }

    #[test]
    fn what_is_not_a_via_is_refused() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/1.0/UDP a",
            "SIP/2.0 a",
            "SIP/2.0/UDP a;;",
            "SIP/2.0/UDPa",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP a:b",
            "SIP/2.0/UDP 2001:db8::1",
        ] {
            assert!(Via::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
