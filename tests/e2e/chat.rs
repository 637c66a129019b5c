//! Chat and presence: clients outside, IM and Presence nodes inside, and an edge between them.

mod reference;
mod scenario;
mod scene;
