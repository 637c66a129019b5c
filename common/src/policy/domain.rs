//! The service domains, the deployments they belong to, and which are enabled.
