//! The link: who may form it, what is said to those who may not, and what one stream can do to another.

mod certificate;
mod greeting;
mod trap;
