//! Where something runs: on this machine as it is, or in a network namespace.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A view of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The network of the calling process.
    Host,
    /// The named network namespace, as `ip netns` lists it.
    Namespace(String),
}

impl Place {
    /// A command that will run here. The child's pid is the program's own: nothing stands between.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        match self {
            Self::Host => Command::new(program),
            Self::Namespace(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, program]);
                command
            }
        }
    }

    /// Runs a closure whose new sockets belong here. A socket keeps its place for life, so it may
    /// be used anywhere afterwards.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match self {
            Self::Host => work(),
            // A thread of its own: a namespace is entered for good.
            Self::Namespace(name) => thread::scope(|scope| {
                let inside = scope.spawn(|| {
                    enter(name)?;
                    work()
                });
                inside
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }),
        }
    }

    /// Moves the calling thread here, for good: all its new sockets belong here.
    pub fn enter(&self) -> io::Result<()> {
        match self {
            Self::Host => Ok(()),
            Self::Namespace(name) => enter(name),
        }
    }

    /// Listens here.
    pub fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.run(|| TcpListener::bind(address))
    }

    /// Binds a UDP socket here.
    pub fn udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.run(|| UdpSocket::bind(address))
    }

    /// Opens a TCP connection from here.
    pub fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&address, limit))
    }
}

fn enter(name: &str) -> io::Result<()> {
    let namespace = File::open(format!("/run/netns/{name}"))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}
