//! The first message each side sends on a link connection: versions, names, purpose.
