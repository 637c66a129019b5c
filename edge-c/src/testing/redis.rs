//! A real redis-server for tests of this crate, on a socket in a folder of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::sessions::{Dialer, StoreAddress, StoreWay};

/// The server; ends with the test.
#[derive(Debug)]
pub(crate) struct TestRedis {
    dir: TempDir,
    process: Option<Child>,
}

impl TestRedis {
    pub(crate) async fn start() -> Self {
        let mut redis = Self {
            dir: tempfile::tempdir().unwrap(),
            process: None,
        };
        redis.resume().await;
        redis
    }

    /// Ends it at once. It keeps nothing.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again, empty.
    pub(crate) async fn resume(&mut self) {
        let socket = self.socket();
        let process = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
            ])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed: apt-get install redis-server");
        self.process = Some(process);
        let connecting = async {
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), connecting)
            .await
            .unwrap();
    }

    pub(crate) fn dialer(&self) -> Dialer {
        let tls = ClientConfig::builder()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        Dialer {
            address: StoreAddress {
                way: StoreWay::Unix(self.socket()),
                database: 0,
            },
            user: None,
            password: None,
            tls: Arc::new(ArcSwap::from_pointee(tls)),
            dns: None,
            bind_address: None,
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.kill();
    }
}
