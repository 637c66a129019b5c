//! The public name server of edge-e: compared with BIND answer by answer, flooded, and used to find the edge.

mod against_bind;
mod flood;
mod health;
mod scene;
