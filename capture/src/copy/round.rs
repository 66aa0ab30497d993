//! One round of the copy: a snapshot of the source, and every table that is left as it is there. A process that begins, or
//! begins anew, begins with a round; so all that is staged already lies before its snapshot.

use std::sync::Arc;

use bytes::Bytes;
use re_dms_shared::Lsn;
use re_dms_shared::manifest::CopiedTable;
use re_dms_shared::types::catalog::FIRST_UNKNOWN_OID;

use super::state::{CopyState, CopyTable};
use crate::aws::Objects;
use crate::batch::TableShape;
use crate::config::{Config, SourceConfig};
use crate::error::{Error, Result, Who};
use crate::receive;
use crate::relations::{KnownTables, TableNow, describe};
use crate::replication::ReplicationClient;
use crate::source::{CopyTraits, Source};

/// A snapshot and those who see it.
pub struct Round {
    /// Transactions whose commit record begins before this are in the snapshot, and no others.
    pub snapshot: Lsn,
    /// Where the tables' shapes are on S3.
    pub(super) shapes: String,
    pub(super) readers: Readers,
    pub(super) tables: Vec<RoundTable>,
}

/// Those who see a snapshot.
pub(crate) struct Readers {
    /// Each in a transaction that sees the snapshot.
    pub(crate) readers: Vec<Source>,
    /// In no transaction: sees what is now.
    pub(crate) now: Source,
}

/// A table as it is at the snapshot.
#[derive(Clone, Debug)]
pub(crate) struct RoundTable {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// The catalog's text. None if there is nothing to be read: the table is gone, or not replicated any more.
    pub(crate) definition: Option<String>,
    /// None if none of its columns is replicated.
    pub(crate) shape: Option<Arc<TableShape>>,
    pub(crate) filter: Option<String>,
    /// What it takes on the source's disk, about.
    pub(crate) bytes: u64,
}

impl RoundTable {
    /// Of which nothing is read.
    pub(crate) fn gone(oid: u32) -> Self {
        let (schema, name) = (String::new(), String::new());
        Self { oid, schema, name, definition: None, shape: None, filter: None, bytes: 0 }
    }

    /// What manifests say of it.
    pub(super) fn copied(&self, snapshot: Lsn) -> CopiedTable {
        CopiedTable { oid: self.oid, schema: self.schema.clone(), name: self.name.clone(), snapshot }
    }
}

impl Round {
    /// Takes a snapshot and looks at all tables that are left; they become known as they are there. `held` is the end of
    /// the last transaction that we hold, `shapes` where to write the shapes.
    ///
    /// # Errors
    /// If the source can't be asked, or a table can't be held in Redshift.
    pub async fn begin(
        config: &Config,
        objects: &Objects,
        state: &CopyState,
        known: &mut KnownTables,
        held: Lsn,
        shapes: String,
    ) -> Result<Self> {
        tracing::info!(
            tables = state.segments() - state.done.len() as u64,
            "taking a snapshot for the initial copy: it waits for the transactions that are in progress"
        );
        let (snapshot, readers) = take_snapshot(config).await?;
        if snapshot < held {
            return Err(Error::fatal(
                Who::Source,
                format!(
                    "a snapshot of the source is at {snapshot}, before {held}, up to where the stream holds it"
                ),
                "let source.url lead to the server that the stream comes from",
            ));
        }
        let mut tables = Vec::new();
        for table in state.pending() {
            tables.push(look(config, &readers.readers[0], known, table).await?);
        }
        let json = known.to_json()?;
        objects.put(&shapes, Bytes::from(json)).await?;
        tracing::info!(lsn = %snapshot, tables = tables.len(), "the snapshot is taken");
        Ok(Self { snapshot, shapes, readers, tables })
    }
}

/// Takes a snapshot of the source with its exact position. Waits for the transactions that are in progress.
pub(crate) async fn take_snapshot(config: &Config) -> Result<(Lsn, Readers)> {
    let mut client = receive::connect(config).await?;
    let slot = format!("re_dms_copy_{:016x}", rand::random::<u64>());
    let exported = client.export_snapshot(&slot).await;
    let (snapshot, name) = exported.map_err(|error| {
        let error = Error::told(Who::Source, error.is_transient(), &error);
        Error { what: format!("a snapshot for reading tables can't be taken: {}", error.what), ..error }
    })?;
    let mut readers = Vec::new();
    for _ in 0..config.copy.workers {
        let reader = Source::connect(&config.source).await?;
        reader.begin_at(&name).await?;
        readers.push(reader);
    }
    let now = Source::connect(&config.source).await?;
    // The transactions keep the snapshot; the slot would keep WAL.
    release(client, &slot).await;
    Ok((snapshot, Readers { readers, now }))
}

async fn release(mut client: ReplicationClient, slot: &str) {
    // It ends with the connection in any case.
    if let Err(error) = client.drop_slot(slot).await {
        tracing::warn!(slot, %error, "the snapshot's slot could not be dropped; it goes with its connection");
    }
}

/// The table as the snapshot has it.
async fn look(
    config: &Config,
    reader: &Source,
    known: &mut KnownTables,
    table: &CopyTable,
) -> Result<RoundTable> {
    let SourceConfig { publication, tables, columns, .. } = &config.source;
    let oid = table.oid;
    let gone =
        || RoundTable { schema: table.schema.clone(), name: table.name.clone(), ..RoundTable::gone(oid) };
    known.put(oid, None);
    let Some(text) = reader.definition_text(oid, publication).await? else { return Ok(gone()) };
    let now = TableNow::read(&text)?;
    if !tables.picks(&now.schema, &now.name) {
        return Ok(gone());
    }
    let CopyTraits { key, filter, bytes } = reader.copy_traits(oid, publication).await?;
    let mut types: Vec<u32> = now.columns.iter().map(|column| column.type_oid).collect();
    types.retain(|oid| *oid >= FIRST_UNKNOWN_OID);
    let types = reader.catalog_types(&types).await?;
    let (schema, name) = (now.schema.clone(), now.name.clone());
    let description = describe(columns, (&config.target, &config.tables), &types, now, &key)?;
    known.put(oid, description.as_ref());
    let shape = description.map(|description| description.shape);
    Ok(RoundTable { oid, schema, name, definition: Some(text), shape, filter, bytes })
}
