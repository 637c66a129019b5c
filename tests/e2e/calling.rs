//! Calls: phones outside and inside, a registrar inside, and an edge between them.

mod attack;
mod configuration;
mod desk;
mod ending;
mod failover;
mod load;
mod moving;
mod pair;
mod reference;
mod scenario;
mod scene;
mod session_timer;
mod ways;
mod websocket;
