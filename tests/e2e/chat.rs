//! Chat and presence: clients outside, IM and Presence nodes inside, and an edge between them.

mod configuration;
mod guess;
mod hint;
mod loss;
mod opening;
mod pair;
mod passthrough;
mod policy;
mod proxied;
mod reference;
mod scenario;
mod scene;
