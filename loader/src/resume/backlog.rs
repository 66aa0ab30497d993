//! What waits to be replayed: the segments in which a quarantined table was skipped, and with them those of the tables that it
//! exchanged names with.

use std::collections::{BTreeMap, BTreeSet};

use crate::apply::{Loader, Segment};
use crate::error::LoadError;
use crate::objects::Objects;
use crate::runner::Runner;
use crate::statements::Statements;
use crate::table_log::{self, Skipped};
use re_dms_plan::table_log::{ReadAnew, Waiting};
use re_dms_plan::{self as plan, PlanError, SkippedSegment, TableLog, Target};

/// Skipped segments that are read at a time; as many as fit into one batch are replayed together.
const SEGMENTS_READ: usize = 10;

/// Skipped segments in order, the first of them.
pub(super) struct Backlog {
    segments: Vec<(Segment, BTreeMap<Target, u64>)>,
    targets: BTreeSet<Target>,
    /// There are no more than these.
    is_all: bool,
}

/// A table that has to be replaced by what was read anew before anything is replayed.
pub(super) struct ReplaceFirst {
    pub(super) waiting: Waiting,
    /// The number of the log's row that says where its rows are.
    pub(super) copied: u64,
}

impl Backlog {
    /// How many segments there are.
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().map(|(segment, _)| segment)
    }

    pub(super) fn skipped(&self) -> Vec<SkippedSegment<'_>> {
        let mut skipped = Vec::with_capacity(self.len());
        for (segment, targets) in &self.segments {
            skipped.push(SkippedSegment { segment: segment.staged(), targets: targets.clone() });
        }
        skipped
    }

    /// Whose quarantine ends with the first `count` segments.
    pub(super) fn ended_by(&self, count: usize) -> Vec<Target> {
        if self.is_all && count == self.len() { self.targets.iter().cloned().collect() } else { Vec::new() }
    }
}

impl<A: Statements, O: Objects> Loader<A, O> {
    /// What was skipped of the table, and of those that come back with it; or what has to be done before.
    pub(super) async fn backlog(
        &self,
        runner: &Runner<'_, A>,
        stream: &str,
        log: &TableLog,
        first: Waiting,
    ) -> Result<Result<Backlog, ReplaceFirst>, LoadError> {
        let mut waiting = vec![first];
        loop {
            for waiting in &waiting {
                match waiting.read_anew {
                    Some(ReadAnew { copied: None, .. }) => {
                        return Err(PlanError::BeingRead { table: waiting.target.to_string() }.into());
                    }
                    Some(ReadAnew { copied: Some(copied), replaced: false }) => {
                        return Ok(Err(ReplaceFirst { waiting: waiting.clone(), copied }));
                    }
                    Some(_) | None => {}
                }
            }
            let backlog = self.read_backlog(runner, stream, &waiting).await?;
            let linked = plan::linked(&backlog.skipped(), &backlog.targets, log);
            if linked.is_empty() {
                return Ok(Ok(backlog));
            }
            waiting.extend(linked.iter().filter_map(|target| log.waiting(&target.to_string())));
        }
    }

    async fn read_backlog(
        &self,
        runner: &Runner<'_, A>,
        stream: &str,
        waiting: &[Waiting],
    ) -> Result<Backlog, LoadError> {
        let mut rows: BTreeMap<u64, (Skipped, &Target)> = BTreeMap::new();
        let mut is_all = true;
        for Waiting { target, since, .. } in waiting {
            let skipped = table_log::skipped(runner, stream, target, *since, SEGMENTS_READ).await?;
            is_all &= skipped.len() < SEGMENTS_READ;
            rows.extend(skipped.into_iter().map(|skipped| (skipped.change, (skipped, target))));
        }
        // The rows of one segment were added by one transaction.
        let mut places: Vec<(Skipped, BTreeMap<Target, u64>)> = Vec::new();
        for (change, (skipped, target)) in rows {
            match places.last_mut() {
                Some((place, targets)) if place.manifest_key == skipped.manifest_key => {
                    targets.insert(target.clone(), change);
                }
                _ => places.push((skipped, BTreeMap::from([(target.clone(), change)]))),
            }
        }
        is_all &= places.len() <= SEGMENTS_READ;
        // As many as were asked for of each table: of those behind them some rows may be missing.
        places.truncate(SEGMENTS_READ);
        let reads = places.iter().map(|(place, _)| self.skipped_segment(place));
        let segments: Vec<_> =
            futures_util::future::join_all(reads).await.into_iter().collect::<Result<_, _>>()?;
        let segments = segments.into_iter().zip(places.into_iter().map(|(_, targets)| targets)).collect();
        let targets = waiting.iter().map(|waiting| waiting.target.clone()).collect();
        Ok(Backlog { segments, targets, is_all })
    }
}
