//! What the source's event trigger says: each table's new definition at its place in the transaction that changed it.
//! Nothing has to be asked or guessed.

use re_dms_shared::manifest::{SchemaChange, Table, TableChange};
use serde::Deserialize;

use super::known::KnownTable;
use super::look::TableNow;
use super::tell::tell;
use super::{Relations, SchemaStep, Told};
use crate::batch::SourceColumn;
use crate::error::{Error, Result, Who};

/// The prefix of its messages.
pub const PREFIX: &str = "re_dms.ddl";

/// One message.
#[derive(Debug, Deserialize)]
struct Message {
    publication: String,
    #[serde(flatten)]
    event: Event,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    /// From here on every change is told.
    Installed,
    /// From here on none is.
    Removed,
    /// The table's rows are about to be written anew; without USING if it is plain.
    Rewrite { oid: u32, plain: bool },
    /// The table is like this now.
    Table { created: bool, table: TableNow },
    /// Tables are gone.
    Dropped { tables: Vec<u32> },
}

impl Relations {
    /// Takes a message with the [`PREFIX`]. The steps come before the changes that follow it.
    ///
    /// # Errors
    /// If it is not of the known form, or the table can't be held in Redshift.
    pub fn ddl(&mut self, content: &[u8]) -> Result<Vec<SchemaStep>> {
        let message: Message = serde_json::from_slice(content).map_err(|error| {
            Error::fatal(
                Who::Source,
                format!("a message of the event trigger can't be read: {error}"),
                "install it again with this version: re_dms init --ddl-trigger",
            )
        })?;
        if message.publication != self.publication {
            return Ok(Vec::new());
        }
        match message.event {
            Event::Installed => self.told_by_trigger(true),
            Event::Removed => self.told_by_trigger(false),
            Event::Rewrite { oid, plain } => {
                if plain {
                    self.rewritten_plainly.insert(oid);
                } else {
                    self.rewritten_plainly.remove(&oid);
                }
            }
            Event::Table { table, .. } if self.is_copied(table.oid) => {}
            Event::Table { created, table } => {
                self.partitions_seen(&table);
                return self.table_told(created, table);
            }
            Event::Dropped { tables } => {
                let mut steps = Vec::new();
                for oid in tables.into_iter().filter(|oid| !self.is_copied(*oid)).collect::<Vec<_>>() {
                    self.unsettled.remove(&oid);
                    if self.known.tables.contains_key(&oid) {
                        steps.extend(self.drop_known(oid)?);
                    }
                }
                tell(&steps);
                return Ok(steps);
            }
        }
        Ok(Vec::new())
    }

    pub(super) fn told_by_trigger(&mut self, is: bool) {
        self.is_news |= self.known.ddl_trigger != is;
        self.known.ddl_trigger = is;
        self.trigger_told_at = self.identities.at;
    }

    pub(super) fn table_told(&mut self, created: bool, mut now: TableNow) -> Result<Vec<SchemaStep>> {
        self.shaping.cut(&mut now);
        let Some((after, key)) = self.shape_seen(&now)? else { return Ok(Vec::new()) };
        let is_new = !self.known.tables.contains_key(&now.oid);
        let plain = self.rewritten_plainly.contains(&now.oid);
        let mut steps = self.become_known(after, Some(&now), Told { plain, key, doubts: Vec::new() })?;
        if is_new
            && created
            && let Some(KnownTable { table, .. }) = self.known.tables.get(&now.oid)
        {
            let change = SchemaChange {
                before: None,
                changes: vec![TableChange::Create],
                unproven: Vec::new(),
                hold: false,
            };
            let step = SchemaStep { table: table.clone(), change };
            tell(std::slice::from_ref(&step));
            steps.push(step);
        }
        Ok(steps)
    }

    /// The table as Redshift is to have it, and whether its key is told; none if it is not replicated.
    pub(super) fn shape_seen(&mut self, now: &TableNow) -> Result<Option<(Table, bool)>> {
        let (schema, name) = (now.schema.as_str(), now.name.as_str());
        if !self.patterns.picks(schema, name) {
            self.lose_sight_of(now.oid);
            return Ok(None);
        }
        self.shaping.refuse_own_schema(schema, name)?;
        let Some(columns) = self.columns_seen(now)? else { return Ok(None) };
        // Under REPLICA IDENTITY FULL none is told.
        let key = now.columns.iter().any(|column| column.key == Some(true));
        let shape = self.target_shape(now.oid, (schema, name), &columns)?;
        Ok(Some((shape.table().clone(), key)))
    }

    /// It was renamed to where nobody looks: what Redshift has of it stays under its old name.
    pub(super) fn lose_sight_of(&mut self, oid: u32) {
        if let Some(known) = self.known.tables.get_mut(&oid).filter(|known| !known.gone) {
            known.gone = true;
            self.is_news = true;
        }
    }

    /// The columns that the stream sends, with those of the key; none if there are none.
    pub(super) fn columns_seen(&mut self, now: &TableNow) -> Result<Option<Vec<SourceColumn>>> {
        let (schema, name) = (now.schema.as_str(), now.name.as_str());
        let mut columns = now.published();
        if columns.is_empty() {
            return Ok(None);
        }
        let types = columns.iter().map(|column| column.type_oid);
        self.shaping.types.learn((schema, name), types)?;
        let can_be_key = |column: &SourceColumn| {
            let ty = (column.type_oid, column.type_modifier);
            self.shaping.type_of((schema, name), &column.name, ty, true).is_ok_and(|(ty, _)| ty.can_be_key())
        };
        // That is told when a row comes.
        if !columns.iter().filter(|column| column.key).all(can_be_key) {
            columns.iter_mut().for_each(|column| column.key = false);
        }
        Ok(Some(columns))
    }
}
