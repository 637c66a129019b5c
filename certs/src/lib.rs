//! Makes a throw-away PKI: three certificate authorities and every identity that a pair, its
//! inner servers and its tests need.
//!
//! Not for production: keys are written unencrypted, and the authorities' keys are forgotten when
//! the [`Pki`] is dropped, so nothing can be renewed or revoked.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let pki = certs::Pki::generate(&certs::Plan::standard("example.com"))?;
//! pki.write_to(std::path::Path::new("/tmp/pki"))?;
//! # Ok(())
//! # }
//! ```

mod authority;
mod plan;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub use authority::{Authority, Identity, Leaf, Usage, Validity};
pub use plan::{CorePlan, EdgePlan, InnerPlan, Plan};

/// Three authorities and what they signed.
///
/// Identities are named by the path of their files below the output folder, without extension:
/// `public/edge1`, `link/edge1`, `link/edge-c1`, `inside/ucm`, `link/faulty/edge1-expired`.
#[derive(Debug)]
pub struct Pki {
    /// Signs what clients see: the public certificates of every edge-e.
    pub public: Authority,
    /// Signs the link identities: server certificates for edge-e, client certificates for edge-c.
    pub link: Authority,
    /// Signs the servers inside: UCM, IM and Presence, Unity, photos.
    pub inside: Authority,
    /// Everything they signed, by name.
    pub identities: BTreeMap<String, Identity>,
}

impl Pki {
    /// Makes fresh keys and certificates for everything in the plan.
    ///
    /// # Errors
    /// If a name of the plan can't stand in a certificate.
    pub fn generate(plan: &Plan) -> Result<Self> {
        let mut pki = Self {
            public: Authority::new("Test public CA")?,
            link: Authority::new("Test link CA")?,
            inside: Authority::new("Test inside CA")?,
            identities: BTreeMap::new(),
        };
        for edge in &plan.edges {
            pki.add_edge(edge)?;
        }
        for core in &plan.cores {
            pki.add_core(core)?;
        }
        for server in &plan.inner {
            let leaf = Leaf::server(&server.names).with_addresses(&server.addresses);
            pki.issue_inside(&server.file, &leaf)?;
        }
        pki.add_faulty(plan)?;
        Ok(pki)
    }

    /// The identity of that name, such as `link/edge-c1`.
    #[must_use]
    pub fn identity(&self, name: &str) -> Option<&Identity> {
        self.identities.get(name)
    }

    /// Writes every authority as `<zone>/ca.pem` and every identity as `<name>.pem` (leaf first)
    /// and `<name>.key`. Keys are readable by their owner only.
    ///
    /// # Errors
    /// If a folder or file can't be written.
    pub fn write_to(&self, dir: &Path) -> Result<()> {
        for (zone, authority) in [
            ("public", &self.public),
            ("link", &self.link),
            ("inside", &self.inside),
        ] {
            write_file(&dir.join(zone).join("ca.pem"), authority.pem(), PUBLIC_MODE)?;
        }
        for (name, identity) in &self.identities {
            identity.write_to(&dir.join(name))?;
        }
        Ok(())
    }

    fn add_edge(&mut self, edge: &EdgePlan) -> Result<()> {
        let public = Leaf::server(&edge.public_names).with_addresses(&edge.public_addresses);
        self.insert("public", &edge.file, self.public.issue(&public)?);
        let link = Leaf::server(std::slice::from_ref(&edge.link_name));
        self.insert("link", &edge.file, self.link.issue(&link)?);
        Ok(())
    }

    fn add_core(&mut self, core: &CorePlan) -> Result<()> {
        let leaf = Leaf::client(std::slice::from_ref(&core.link_name));
        self.insert("link", &core.file, self.link.issue(&leaf)?);
        Ok(())
    }

    fn issue_inside(&mut self, file: &str, leaf: &Leaf) -> Result<()> {
        self.insert("inside", file, self.inside.issue(leaf)?);
        Ok(())
    }

    /// Certificates that must be refused, one fault each.
    fn add_faulty(&mut self, plan: &Plan) -> Result<()> {
        let foreign = Authority::new("Foreign CA")?;
        let links = plan
            .edges
            .iter()
            .map(|e| (&e.file, Leaf::server(std::slice::from_ref(&e.link_name))));
        let links = links.chain(
            plan.cores
                .iter()
                .map(|c| (&c.file, Leaf::client(std::slice::from_ref(&c.link_name)))),
        );
        for (file, leaf) in links {
            let expired = self.link.issue(&leaf.clone().expired())?;
            self.insert("link/faulty", &format!("{file}-expired"), expired);
            let foreign = foreign.issue(&leaf)?;
            self.insert("link/faulty", &format!("{file}-foreign"), foreign);
        }
        let stranger = Leaf::client(&["stranger.link.internal".to_owned()]);
        self.insert("link/faulty", "stranger", self.link.issue(&stranger)?);

        for server in &plan.inner {
            let leaf = Leaf::server(&server.names).with_addresses(&server.addresses);
            let expired = self.inside.issue(&leaf.clone().expired())?;
            self.insert(
                "inside/faulty",
                &format!("{}-expired", server.file),
                expired,
            );
            let untrusted = foreign.issue(&leaf)?;
            self.insert(
                "inside/faulty",
                &format!("{}-foreign", server.file),
                untrusted,
            );
        }
        let wrong = Leaf::server(&["somebody-else.invalid".to_owned()]);
        self.insert("inside/faulty", "wrong-name", self.inside.issue(&wrong)?);
        Ok(())
    }

    fn insert(&mut self, folder: &str, file: &str, identity: Identity) {
        self.identities.insert(format!("{folder}/{file}"), identity);
    }
}

impl Identity {
    /// Reads what [`write_to`](Self::write_to) wrote.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn read_from(stem: &Path) -> Result<Self> {
        let read = |suffix| {
            let path = with_suffix(stem, suffix);
            fs::read_to_string(&path).with_context(|| format!("Failed to read {}", path.display()))
        };
        Ok(Self {
            chain_pem: read(".pem")?,
            key_pem: read(".key")?,
        })
    }

    /// Writes `<stem>.pem` (the chain, leaf first) and `<stem>.key` (mode 0600).
    ///
    /// Each file is replaced in one step, so that a server which watches it never reads half of it.
    ///
    /// # Errors
    /// If a folder or file can't be written.
    pub fn write_to(&self, stem: &Path) -> Result<()> {
        write_file(&with_suffix(stem, ".key"), &self.key_pem, KEY_MODE)?;
        write_file(&with_suffix(stem, ".pem"), &self.chain_pem, PUBLIC_MODE)
    }
}

fn with_suffix(stem: &Path, suffix: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn write_file(path: &Path, text: &str, mode: u32) -> Result<()> {
    let context = || format!("Failed to write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    let fresh = with_suffix(path, ".new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&fresh)
        .with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)?;
    fs::rename(&fresh, path).with_context(context)
}

const PUBLIC_MODE: u32 = 0o644;
const KEY_MODE: u32 = 0o600;

#[cfg(test)]
mod tests;
