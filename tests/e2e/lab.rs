//! The laboratory itself: what every other test stands on.

mod bind;
mod nginx;
mod uds;
mod zones;

use std::path::Path;

use certs::{Identity, Pki, Plan};
use support::netns::{self, Zones};
use support::world::World;

/// Zones, keys on disk and a world on the inside addresses.
struct Scene {
    zones: Zones,
    dir: tempfile::TempDir,
    pki: Pki,
    world: World,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::generate(&Plan::standard("example.com")).unwrap();
        pki.write_to(dir.path()).unwrap();
        Self {
            zones: Zones::new().unwrap(),
            dir,
            pki,
            world: World::standard("example.com", |number| netns::inside(number).to_vec()),
        }
    }

    fn identity(&self, name: &str) -> &Identity {
        self.pki.identity(name).unwrap()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}
