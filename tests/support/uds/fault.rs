//! What can be made to go wrong, and for which requests.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::xml::{DECLARATION, Element};
use crate::http_server::{Answer, Delivery, Received};

/// A fault and the requests that meet it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Only at this node.
    #[serde(default)]
    pub host: Option<String>,
    /// Only for targets that start so.
    #[serde(default)]
    pub target_prefix: Option<String>,
    /// Only so many times; without it until cleared.
    #[serde(default)]
    pub times: Option<u32>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The answer comes late.
    Delay {
        /// How late.
        millis: u64,
    },
    /// A document type declaration with an entity that refers to itself a billion times.
    Dtd,
    /// `clusterUser` does not know the user.
    NotFound,
    /// A well-formed document padded to at least so many bytes.
    OversizedXml {
        /// The size of the padding.
        bytes: usize,
    },
    /// The connection is reset instead of an answer.
    Reset,
    /// An empty answer with this status.
    Status {
        /// Such as 500.
        code: u16,
    },
    /// The connection closes after half of the announced body.
    TruncatedBody,
    /// `Content-Length` is ten bytes short, so the document arrives cut.
    WrongContentLength,
}

impl Fault {
    /// A fault at every node, for every request, until cleared.
    #[must_use]
    pub const fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            host: None,
            target_prefix: None,
            times: None,
        }
    }

    /// Only at this node.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Only for targets that start so.
    #[must_use]
    pub fn on(mut self, target_prefix: &str) -> Self {
        self.target_prefix = Some(target_prefix.to_owned());
        self
    }

    /// Only so many times.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    pub(super) fn applies(&self, host: &str, request: &Received) -> bool {
        let at_host = self.host.as_deref().is_none_or(|h| h == host);
        let on_target = self
            .target_prefix
            .as_deref()
            .is_none_or(|prefix| request.target.starts_with(prefix));
        at_host && on_target && self.times != Some(0)
    }
}

impl FaultKind {
    /// Spoils a good answer.
    pub(super) fn spoil(self, request: &Received, mut answer: Answer) -> Answer {
        let length = u64::try_from(answer.body.len()).unwrap_or(u64::MAX);
        match self {
            Self::Delay { millis } => answer.delay += Duration::from_millis(millis),
            Self::Dtd => answer.body = ENTITY_BOMB.clone().into(),
            Self::NotFound => {
                if request.target.starts_with("/cucm-uds/clusterUser") {
                    let nobody = Element::new("clusterUser")
                        .child(Element::new("result").attribute("found", "false"));
                    answer.body = nobody.document().into();
                }
            }
            Self::OversizedXml { bytes } => {
                let mut body = answer.body.to_vec();
                body.extend_from_slice(b"<!--");
                body.resize(body.len() + bytes, b'x');
                body.extend_from_slice(b"-->\n");
                answer.body = body.into();
            }
            Self::Reset => answer.delivery = Delivery::Reset,
            Self::Status { code } => {
                answer = Answer::empty(
                    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                );
            }
            Self::TruncatedBody => {
                answer.body.truncate(answer.body.len() / 2);
                answer.delivery = Delivery::Announced(length);
            }
            Self::WrongContentLength => {
                answer.delivery = Delivery::Announced(length.saturating_sub(10));
            }
        }
        answer
    }
}

/// Ten levels of tenfold expansion.
static ENTITY_BOMB: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    let mut text = format!("{DECLARATION}<!DOCTYPE clusterUser [<!ENTITY e0 \"ha\">");
    for level in 1..=10 {
        let reference = format!("&e{};", level - 1);
        text.push_str(&format!("<!ENTITY e{level} \"{}\">", reference.repeat(10)));
    }
    text.push_str("]><clusterUser><result found=\"&e10;\"/></clusterUser>\n");
    text
});
