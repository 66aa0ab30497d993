//! Tables that are not written to: what the catalog says of them now and then, placed into the stream.
//!
//! Whoever looks writes a message into the stream afterwards. When it comes back, all that was committed before the look
//! has come, too: what the look says of a table is true then, unless the stream has described the table since it began.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use re_dms_shared::Lsn;
use re_dms_shared::manifest::{SchemaChange, TableChange};

use super::look::TableNow;
use super::tell::tell;
use super::{NamedTable, Relations, SchemaStep, Told, Wish};
use crate::error::Result;

/// The prefix of the messages that tell where a look belongs. Their content is [`LookedAround::id`].
pub const LOOKED: &str = "re_dms.look";

/// What a look found.
#[derive(Clone, Debug)]
pub struct LookedAround {
    /// Tells looks apart.
    pub id: String,
    /// Where the server's WAL was before the look.
    pub from: Lsn,
    /// Every table that there is, whether published or not.
    pub present: BTreeSet<u32>,
    /// Those that may be others than they were.
    pub changed: HashMap<u32, TableNow>,
    /// The event trigger is there, and enabled.
    pub has_trigger: bool,
    /// Published tables that hold rows, of those that were not looked at for that before.
    pub with_rows: Vec<NamedTable>,
}

/// Between who looks and who takes the stream.
#[derive(Clone, Debug, Default)]
pub struct Looks(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last: Option<LookedAround>,
    /// Something was passed over: everything has to be looked at again.
    again: bool,
}

impl Looks {
    /// Leaves what was found, before its message is written.
    pub fn put(&self, found: LookedAround) {
        self.state().last = Some(found);
    }

    /// Whether the last look's message has not come back yet.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.state().last.is_some()
    }

    /// Forgets a look whose message could not be written.
    pub fn give_up(&self) {
        self.state().last = None;
    }

    /// Whether something of the last look could not be taken.
    #[must_use]
    pub fn take_again(&self) -> bool {
        std::mem::take(&mut self.state().again)
    }

    fn take(&self, id: &[u8]) -> Option<LookedAround> {
        self.state().last.take_if(|found| found.id.as_bytes() == id)
    }

    fn look_again(&self) {
        self.state().again = true;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relations {
    /// With somebody who looks at tables that are not written to.
    #[must_use]
    pub fn with_looks(self, looks: Looks) -> Self {
        Self { looks, ..self }
    }

    /// Takes the message with this content: the steps come before the changes that follow it.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub fn looked(&mut self, content: &[u8]) -> Result<Vec<SchemaStep>> {
        // Another process's, or an older one.
        let Some(found) = self.looks.take(content) else { return Ok(Vec::new()) };
        if self.known.ddl_trigger && !found.has_trigger && self.trigger_told_at < found.from {
            tracing::warn!(
                "the event trigger is gone, and not by `re_dms init`: the catalog is asked from now on (hint: \
                 `re_dms init --ddl-trigger` puts it there again)"
            );
            self.known.ddl_trigger = false;
            self.is_news = true;
        }
        for now in found.changed.values() {
            self.partitions_seen(now);
        }
        self.wish_for_what_never_came(&found);
        if self.known.ddl_trigger {
            return Ok(Vec::new());
        }
        let is_certain =
            |relations: &Self, oid: u32| relations.told_at.get(&oid).is_none_or(|at| *at < found.from);
        let known: Vec<u32> =
            self.known.tables.iter().filter(|(_, known)| !known.gone).map(|(oid, _)| *oid).collect();
        let mut steps = Vec::new();
        for oid in known.iter().copied().filter(|oid| !found.present.contains(oid)) {
            // It may have been made since.
            if !is_certain(self, oid) {
                self.looks.look_again();
                continue;
            }
            self.unsettled.remove(&oid);
            let dropped = self.drop_known(oid)?;
            tell(dropped.as_slice());
            steps.extend(dropped);
        }
        for oid in known {
            let Some(now) = found.changed.get(&oid) else { continue };
            if is_certain(self, oid) {
                steps.extend(self.table_seen(now.clone())?);
            } else {
                self.looks.look_again();
            }
        }
        Ok(steps)
    }

    /// Whatever was committed before the look has come. Who has rows and was never heard of has others than those that come:
    /// it joined the publication with them, or was a partition when they were written.
    fn wish_for_what_never_came(&mut self, found: &LookedAround) {
        for table in &found.with_rows {
            let rules = self.shaping.tables.of(&table.schema, &table.name);
            if !rules.manual_resync && !self.is_known(table.oid) && self.wish_for(table.oid).is_none() {
                self.wish(Wish::new(table.clone(), found.id.clone()));
            }
        }
    }

    /// What a look found, on its own: for who only wants to know what would be done. `new` are published tables that the
    /// stream has not seen.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub fn foresee(&mut self, present: &BTreeSet<u32>, tables: Vec<TableNow>) -> Result<Vec<SchemaStep>> {
        let known: Vec<u32> = self.known.tables.keys().copied().collect();
        let mut steps = Vec::new();
        for oid in known.into_iter().filter(|oid| !present.contains(oid)) {
            steps.extend(self.drop_known(oid)?);
        }
        for now in tables {
            let (oid, is_new) = (now.oid, !self.known.tables.contains_key(&now.oid));
            steps.extend(self.table_seen(now)?);
            if is_new && let Some(known) = self.known.tables.get(&oid) {
                let change = SchemaChange {
                    before: None,
                    changes: vec![TableChange::Create],
                    unproven: Vec::new(),
                    hold: false,
                };
                steps.push(SchemaStep { table: known.table.clone(), change });
            }
        }
        Ok(steps)
    }

    /// As told by the catalog, outside of any change of the table's rows.
    fn table_seen(&mut self, mut now: TableNow) -> Result<Vec<SchemaStep>> {
        self.shaping.cut(&mut now);
        let Some((after, key)) = self.shape_seen(&now)? else { return Ok(Vec::new()) };
        self.become_known(after, Some(&now), Told { plain: false, key, doubts: Vec::new() })
    }
}
