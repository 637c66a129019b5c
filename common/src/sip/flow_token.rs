//! Flow tokens (RFC 5626 section 5.2): which flow a request from inside is for, sealed so that nobody else can make
//! one. Names no address.

use aws_lc_rs::hmac;

/// Keys of flow tokens: the first makes and verifies, the others verify only.
#[derive(Clone)]
pub struct FlowTokenKeys {
    keys: Vec<hmac::Key>,
}

impl FlowTokenKeys {
    /// `current` makes tokens; those made under `previous` are still good.
    #[must_use]
    pub fn new(current: &[u8; 32], previous: Option<&[u8; 32]>) -> Self {
        let key = |bytes: &[u8; 32]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Self {
            keys: std::iter::once(current).chain(previous).map(key).collect(),
        }
    }
}

impl std::fmt::Debug for FlowTokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} keys]", self.keys.len())
    }
}
