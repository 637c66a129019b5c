//! Offer and answer as sentences: what each side sends, what the other side gets, what the engine is told.

mod calls;
mod changes;
mod forks;
mod lines;
mod scene;
