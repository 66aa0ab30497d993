//! A look at the catalog now and then: tables that are dropped, renamed or changed and not written to leave no trace in the
//! stream. What was found is placed there by a message: see [`Looks`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::Config;
use crate::error::Result;
use crate::relations::{LookedAround, Looks, NamedTable};
use crate::source::{Source, StreamTable};

/// Looks for as long as the stream runs.
pub(crate) struct LookAround {
    config: Arc<Config>,
    looks: Looks,
    source: Option<Source>,
    /// How tables looked last time.
    seen: Option<Seen>,
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    tables: HashMap<u32, String>,
    has_trigger: bool,
    /// Tables of the stream, of which it is known whether they held rows when they were new.
    in_stream: BTreeSet<u32>,
}

impl LookAround {
    pub(crate) fn new(config: Arc<Config>, looks: Looks) -> Self {
        Self { config, looks, source: None, seen: None }
    }

    pub(crate) async fn run(mut self) {
        let Some(interval) = self.config.source.look_interval else { return };
        loop {
            tokio::time::sleep(interval).await;
            // While the stream is behind one look is enough.
            if self.looks.is_awaited() {
                continue;
            }
            if self.looks.take_again() {
                self.seen = None;
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "the catalog could not be looked at: tables that are not written to wait");
                (self.source, self.seen) = (None, None);
                self.looks.give_up();
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        let source = match self.source.take() {
            Some(source) => source,
            None => Source::connect(&self.config.source).await?,
        };
        let publication = &self.config.source.publication;
        // A standby takes no messages.
        if let Some(from) = source.insert_position().await? {
            let around = source.around(publication).await?;
            let has_trigger = source.has_ddl_trigger(publication).await?;
            let mut changed = HashMap::new();
            let before = self.seen.as_ref();
            let is_as_before =
                |oid: &u32, mark: &String| before.is_some_and(|seen| seen.tables.get(oid) == Some(mark));
            for table in
                around.iter().filter(|table| table.published && !is_as_before(&table.oid, &table.mark))
            {
                if let Some(now) = source.definition(table.oid, publication).await? {
                    changed.insert(table.oid, now);
                }
            }
            let present: BTreeSet<u32> = around.iter().map(|table| table.oid).collect();
            let tables = around.into_iter().map(|table| (table.oid, table.mark)).collect();
            let (in_stream, with_rows) = self.new_in_stream(&source).await?;
            let seen = Seen { tables, has_trigger, in_stream };
            if self.seen.as_ref() != Some(&seen) {
                let id = format!("{:016x}", rand::random::<u64>());
                self.looks.put(LookedAround {
                    id: id.clone(),
                    from,
                    present,
                    changed,
                    has_trigger,
                    with_rows,
                });
                source.tell_of_look(&id).await?;
                self.seen = Some(seen);
            }
        }
        self.source = Some(source);
        Ok(())
    }

    /// The stream's tables, and those that are new among them and hold rows.
    async fn new_in_stream(&self, source: &Source) -> Result<(BTreeSet<u32>, Vec<NamedTable>)> {
        if !self.config.copy.enabled {
            return Ok(Default::default());
        }
        let (mut in_stream, mut with_rows) = (BTreeSet::new(), Vec::new());
        for StreamTable { oid, schema, name, .. } in source.stream_tables(&self.config.source).await? {
            let table = NamedTable { oid, schema, name };
            if self.seen.as_ref().is_some_and(|seen| seen.in_stream.contains(&oid)) {
                in_stream.insert(oid);
                continue;
            }
            // Those of which it can't be said are asked for next time.
            if let Some(holds_rows) = source.holds_rows(&table).await {
                in_stream.insert(oid);
                with_rows.extend(holds_rows.then_some(table));
            }
        }
        Ok((in_stream, with_rows))
    }
}
