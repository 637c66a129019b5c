//! A name server with a table that tests change while it runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// How the server treats queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// From the table; NXDOMAIN for unknown names, NODATA for other types.
    Answer,
    /// SERVFAIL to everything.
    Fail,
    /// No answer at all.
    Silent,
}

pub(crate) struct TestDns {
    address: SocketAddr,
    table: Arc<Mutex<Table>>,
    task: JoinHandle<()>,
}

struct Table {
    records: BTreeMap<Name, Vec<RData>>,
    mode: Mode,
    asked: Vec<(String, RecordType)>,
}

impl TestDns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let table = Arc::new(Mutex::new(Table {
            records: BTreeMap::new(),
            mode: Mode::Answer,
            asked: Vec::new(),
        }));
        let task = tokio::spawn(serve(socket, Arc::clone(&table)));
        Self {
            address,
            table,
            task,
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.table.lock().unwrap().mode = mode;
    }

    pub(crate) fn add_address(&self, name: &str, address: IpAddr) {
        self.add(name, RData::from(address));
    }

    pub(crate) fn add_srv(&self, name: &str, priority: u16, weight: u16, port: u16, target: &str) {
        let srv = SRV::new(priority, weight, port, fqdn(target));
        self.add(name, RData::SRV(srv));
    }

    pub(crate) fn remove(&self, name: &str) {
        self.table.lock().unwrap().records.remove(&fqdn(name));
    }

    /// How often `name` was asked for, in any letter case.
    pub(crate) fn times_asked(&self, name: &str, kind: RecordType) -> usize {
        let table = self.table.lock().unwrap();
        let name = fqdn(name).to_lowercase().to_ascii();
        table
            .asked
            .iter()
            .filter(|asked| **asked == (name.clone(), kind))
            .count()
    }

    /// Names that were asked for.
    pub(crate) fn asked(&self) -> Vec<(String, RecordType)> {
        self.table.lock().unwrap().asked.clone()
    }

    fn add(&self, name: &str, data: RData) {
        let mut table = self.table.lock().unwrap();
        table.records.entry(fqdn(name)).or_default().push(data);
    }
}

impl Drop for TestDns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, table: Arc<Mutex<Table>>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            return;
        };
        let Ok(query) = Message::from_vec(&buffer[..length]) else {
            continue;
        };
        let answer = table.lock().unwrap().answer(&query);
        if let Some(answer) = answer {
            drop(socket.send_to(&answer.to_vec().unwrap(), peer).await);
        }
    }
}

impl Table {
    fn answer(&mut self, query: &Message) -> Option<Message> {
        let question = query.queries.first()?.clone();
        let name = question.name().to_lowercase();
        self.asked.push((name.to_ascii(), question.query_type()));
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&query.metadata);
        answer.metadata.authoritative = true;
        answer.add_query(question.clone());
        match self.mode {
            Mode::Answer => {}
            Mode::Fail => {
                answer.metadata.response_code = ResponseCode::ServFail;
                return Some(answer);
            }
            Mode::Silent => return None,
        }
        let Some(records) = self.records.get(&name) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            answer.add_authority(soa());
            return Some(answer);
        };
        for data in records {
            if data.record_type() == question.query_type() {
                // No TTL, so that each look-up shows what the server says now.
                answer.add_answer(Record::from_rdata(question.name().clone(), 0, data.clone()));
            }
        }
        if answer.answers.is_empty() {
            answer.add_authority(soa());
        }
        Some(answer)
    }
}

fn soa() -> Record {
    let name = Name::root();
    let soa = SOA::new(name.clone(), name.clone(), 1, 1, 1, 1, 0);
    Record::from_rdata(name, 0, RData::SOA(soa))
}

fn fqdn(name: &str) -> Name {
    Name::from_str(&format!("{}.", name.trim_end_matches('.'))).unwrap()
}
