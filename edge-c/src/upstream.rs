//! Connections to the inner servers, one file for each protocol. Reached only with an authorised request.

pub mod http;
