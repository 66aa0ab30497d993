//! Names in Redshift: a table that takes one must find it free. Who has it was dropped, renamed or moved, or else two
//! tables of the source would become one.

use std::collections::BTreeSet;

use re_dms_shared::manifest::{SchemaChange, Table, TableChange};

use super::known::{KnownTable, source_name};
use super::look::TableNow;
use super::tell::tell;
use super::{Relations, SchemaStep};
use crate::config::SchemaChanges;
use crate::error::{Error, Result, Who};

/// How often two tables are looked at before their names are said to collide.
const LOOKS: usize = 3;

impl Relations {
    /// Takes the name that `after` will have from the table that has it. `now` is what the catalog says of `after`.
    pub(super) fn make_way(&mut self, after: &Table, now: Option<&TableNow>) -> Result<Vec<SchemaStep>> {
        let mut steps = Vec::new();
        let target = (after.target_schema.as_str(), after.target_name.as_str());
        while let Some(owner) = self.known.owner(target, after.oid) {
            let owner_now = (self.look)(owner)?;
            steps.extend(self.leave(owner, owner_now.as_ref(), after, now)?);
        }
        tell(&steps);
        Ok(steps)
    }

    /// The table `owner` has the name of `after` no more.
    fn leave(
        &mut self,
        owner: u32,
        owner_now: Option<&TableNow>,
        after: &Table,
        now: Option<&TableNow>,
    ) -> Result<Option<SchemaStep>> {
        let is_kept = |known: &KnownTable| {
            let rules = self.rules_of(&known.table);
            known.gone
                || (owner_now.is_none()
                    && (rules.keep_table || rules.schema_changes == SchemaChanges::Ignore))
        };
        if self.known.tables.get(&owner).is_some_and(is_kept) {
            return Ok(self.put_aside(owner));
        }
        let Some(owner_now) = owner_now else { return self.drop_known(owner) };
        let target = |table: &TableNow| self.shaping.target(&table.schema, &table.name);
        let wanted = (after.target_schema.clone(), after.target_name.clone());
        let to = target(owner_now);
        let is_there = to == wanted;
        if is_there && now.is_some_and(|now| target(now) == wanted) && self.share_a_name(owner, after)? {
            return Err(Error::fatal(
                Who::Stream,
                format!(
                    "the tables {}.{} and {} would both become {}.{} in Redshift, whose names are lower-case",
                    owner_now.schema,
                    owner_now.name,
                    source_name(after),
                    after.target_schema,
                    after.target_name
                ),
                "rename one of them, or exclude one (source.exclude)",
            ));
        }
        let is_free = !is_there && self.known.owner((&to.0, &to.1), owner).is_none();
        // Until it is described again under its own name it waits under one that nobody else has.
        let to = if is_free { to } else { (after.target_schema.clone(), format!("re_dms_moved_{owner}")) };
        self.is_news = true;
        let Some(known) = self.known.tables.get_mut(&owner) else { return Err(vanished(owner)) };
        let before = known.table.clone();
        (known.table.target_schema, known.table.target_name) = to;
        if is_free {
            (known.table.schema, known.table.name) = (owner_now.schema.clone(), owner_now.name.clone());
        }
        // Whatever is described of it is not compared with this yet.
        self.unsettled.insert(owner, super::Unsettled::Described);
        let change = SchemaChange {
            before: Some(before),
            changes: vec![TableChange::Move],
            unproven: Vec::new(),
            hold: false,
        };
        Ok(Some(SchemaStep { table: known.table.clone(), change }))
    }

    /// Whether the two are in each other's way on the source as well. They are looked at one after the other, and may have
    /// exchanged names in between, over and over: so who has the very name of the other one was looked at too late, and two
    /// names that would become one have to be there again and again.
    fn share_a_name(&mut self, owner: u32, after: &Table) -> Result<bool> {
        let target = (after.target_schema.as_str(), after.target_name.as_str());
        for _ in 0..LOOKS {
            let mut names = BTreeSet::new();
            for oid in [after.oid, owner] {
                let now = (self.look)(oid)?;
                names.extend(now.map(|now| (now.schema, now.name)));
            }
            let is_there = |(schema, name): &(String, String)| {
                let (schema, name) = self.shaping.target(schema, name);
                (schema.as_str(), name.as_str()) == target
            };
            if names.len() < 2 || !names.iter().all(is_there) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The table is gone on the source.
    pub(super) fn drop_known(&mut self, oid: u32) -> Result<Option<SchemaStep>> {
        let known = self.known.tables.get_mut(&oid).ok_or_else(|| vanished(oid))?;
        if known.gone {
            return Ok(None);
        }
        self.is_news = true;
        let rules = self.shaping.tables.of(&known.table.schema, &known.table.name);
        if rules.keep_table || rules.schema_changes == SchemaChanges::Ignore {
            known.gone = true;
            tracing::info!(table = source_name(&known.table), "dropped on the source, and kept in Redshift");
            return Ok(None);
        }
        let known = self.known.tables.remove(&oid).ok_or_else(|| vanished(oid))?;
        let hold = rules.schema_changes == SchemaChanges::Hold;
        let changes = vec![TableChange::Drop];
        let change = SchemaChange { before: Some(known.table.clone()), changes, unproven: Vec::new(), hold };
        Ok(Some(SchemaStep { table: known.table, change }))
    }
}

fn vanished(oid: u32) -> Error {
    Error::fatal(Who::Stream, format!("the table with OID {oid} is known and is not"), "report this as a bug")
}
