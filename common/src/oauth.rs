//! OAuth as far as edge-c needs it: reading and verifying access tokens, key sets, metadata and introspection answers.
//!
//! Fetches nothing and reads no clock; who is asked, and when, is edge-c's affair. Signatures are `jsonwebtoken`'s work;
//! everything that it would let pass (no audience, an ID token, a list of issuers) is checked here.

#[cfg(any(test, feature = "test-util"))]
pub mod fuzz;

mod algorithm;
mod claims;
mod compact;
mod error;
mod introspection;
mod key_cache;
mod key_set;
mod metadata;
mod pages;
mod rules;
mod sealed;
mod verify;

pub use self::algorithm::{Algorithm, UnknownAlgorithm};
pub use self::claims::Verified;
pub use self::compact::{Kid, Shape, shape};
pub use self::error::TokenError;
pub use self::introspection::{IntrospectionError, introspected};
pub use self::key_cache::KeyCache;
pub use self::key_set::{KeySet, KeySetError};
pub use self::metadata::{Metadata, MetadataError};
pub use self::pages::{CookieScope, replace_origin};
pub use self::rules::Rules;
pub use self::sealed::{SealKey, SealKeyError};
pub use self::verify::verify;
