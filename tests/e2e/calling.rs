//! Calls: phones outside and inside, a registrar inside, and an edge between them.

mod reference;
mod scenario;
mod scene;
