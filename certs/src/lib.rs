//! Makes a throw-away PKI.
