//! Nodes inside that one edge-c knows, told to all: a session comes with its nodes wherever it is used.

use common::limits;
use common::runtime::clock;
use redis::aio::MultiplexedConnection;

use super::super::named::NamedNode;
use super::super::store::StoreError;
use super::address;
use super::metrics::StoreOperation;
use super::{SharedStore, keys};

impl SharedStore {
    /// Tells what the others do not know yet; most times that is nothing, and costs nothing.
    pub(super) async fn name_now(&self, named: Vec<NamedNode>) -> Result<(), StoreError> {
        let untold = self.named.untold(named, clock::unix_now());
        for batch in untold.chunks(limits::STORE_BATCH) {
            self.ask(StoreOperation::Name, async |mut client| {
                self.tell_named(&mut client, batch).await
            })
            .await?;
            self.named.note(batch);
        }
        Ok(())
    }

    /// Gives a store that has lost everything what this node knows.
    pub(super) async fn name_again(
        &self,
        client: &mut MultiplexedConnection,
    ) -> Result<(), StoreError> {
        let known = self.named.all(clock::unix_now());
        for batch in known.chunks(limits::STORE_BATCH) {
            self.tell_named(client, batch).await?;
        }
        Ok(())
    }

    /// Takes over what others named.
    pub(super) fn learn(&self, named: Vec<NamedNode>) {
        self.named.note(&named);
        self.config.sink.tell(named);
    }

    async fn tell_named(
        &self,
        client: &mut MultiplexedConnection,
        named: &[NamedNode],
    ) -> Result<(), StoreError> {
        let mut script = keys::NAME.key(keys::NEWS);
        script.arg(limits::STORE_NEWS_MAX);
        for one in named {
            let (tag, sealed) = self.records.seal_node(one)?;
            script.key(keys::node(&tag)).arg(sealed).arg(one.until.0);
        }
        let _: i64 = script.invoke_async(client).await.map_err(address::failed)?;
        Ok(())
    }
}
