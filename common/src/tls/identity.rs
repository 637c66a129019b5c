//! Whom a certificate names, and until when.
