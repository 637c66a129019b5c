//! What only this product speaks: encoded-origin paths, edge verbs and their answers, the `X-Auth` cookie.

pub mod access;
pub mod cookie;
pub mod edge_config;
pub mod edge_path;
pub mod xml;
