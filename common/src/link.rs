//! What the two edges say to each other on the link. HTTP framing is left to `hyper` and `h2`.

pub mod control;
pub mod exchange;
pub mod flow;
pub mod greeting;
pub mod pick;
pub mod preface;
pub mod stream_preface;
pub mod trouble;
