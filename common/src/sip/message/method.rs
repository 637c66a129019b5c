//! Methods: the IANA registry. Case matters (RFC 3261 section 7.1).

use std::fmt;

macro_rules! methods {
    ($($variant:ident $text:literal $bytes:literal,)*) => {
        /// What a request asks for. The token of [`Method::Other`] stands in the message: `Message::method_token`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Method {
            $(
                #[doc = concat!("`", $text, "`.")]
                $variant,
            )*
            /// Any other token.
            Other,
        }

        impl Method {
            /// Every method but [`Method::Other`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The token; `other` for [`Method::Other`], as a label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other => "other",
                }
            }

            /// The method that `token` names.
            #[must_use]
            pub const fn of(token: &[u8]) -> Self {
                match token {
                    $($bytes => Self::$variant,)*
                    _ => Self::Other,
                }
            }
        }
    };
}

methods! {
    Ack "ACK" b"ACK",
    Bye "BYE" b"BYE",
    Cancel "CANCEL" b"CANCEL",
    Info "INFO" b"INFO",
    Invite "INVITE" b"INVITE",
    Message "MESSAGE" b"MESSAGE",
    Notify "NOTIFY" b"NOTIFY",
    Options "OPTIONS" b"OPTIONS",
    Prack "PRACK" b"PRACK",
    Publish "PUBLISH" b"PUBLISH",
    Refer "REFER" b"REFER",
    Register "REGISTER" b"REGISTER",
    Service "SERVICE" b"SERVICE",
    Subscribe "SUBSCRIBE" b"SUBSCRIBE",
    Update "UPDATE" b"UPDATE",
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_by_their_exact_token() {
        for method in Method::ALL {
            assert_eq!(Method::of(method.as_str().as_bytes()), *method);
        }
        for token in [&b"options"[..], b"INVITED", b"", b"other"] {
            assert_eq!(Method::of(token), Method::Other);
        }
    }
}
