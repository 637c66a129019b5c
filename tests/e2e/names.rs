//! The name servers of the edges: compared with BIND answer by answer, flooded, and used to find the edge.

mod against_bind;
mod bind;
mod flood;
mod health;
mod pinpoint;
mod scene;
mod signed;
