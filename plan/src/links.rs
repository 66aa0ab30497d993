//! Tables that are linked by a name: one takes the name that another one leaves, or leaves one that another one takes. If one
//! of the two stands still, so must the other: what the name stands for would be the wrong table's. They come back together,
//! in the order of the stream.

use std::collections::{BTreeMap, BTreeSet};

use re_dms_shared::manifest::{Action, Manifest, Step};

use super::replay::SkippedSegment;
use super::{Blame, PlanError, TableLog, Target, resync};

/// Targets of the segment that must stand still since quarantined ones, or `bad` ones, do that they exchange names with.
#[must_use]
pub fn renamed(
    manifest: &Manifest,
    log: &TableLog,
    bad: &BTreeMap<Target, Blame>,
) -> BTreeMap<Target, Blame> {
    let moves: Vec<(Target, Target)> = manifest
        .steps
        .iter()
        .filter_map(|step| Some((renamed_from(step)?, Target::of(&step.table))))
        .collect();
    let mut found: BTreeMap<Target, Blame> = BTreeMap::new();
    loop {
        let waits = |target: &Target| {
            log.is_quarantined(target) || bad.contains_key(target) || found.contains_key(target)
        };
        let next = moves.iter().find_map(|(before, after)| match (waits(before), waits(after)) {
            (true, false) => Some((after, before)),
            (false, true) => Some((before, after)),
            _ => None,
        });
        let Some((target, other)) = next else { return found };
        let error = PlanError::Linked { table: target.to_string(), other: other.to_string() };
        let blame = Blame { reason: error.to_string(), hint: error.hint(), held: false };
        found.insert(target.clone(), blame);
    }
}

/// Quarantined targets that exchange names with the skipped ones, and are none of `known`.
#[must_use]
pub fn linked(skipped: &[SkippedSegment<'_>], known: &BTreeSet<Target>, log: &TableLog) -> BTreeSet<Target> {
    let mut found = BTreeSet::new();
    for SkippedSegment { segment, targets } in skipped {
        for target in targets.keys() {
            for step in resync::behind_reading(segment, target) {
                let Some(before) = renamed_from(step) else { continue };
                let after = Target::of(&step.table);
                if before == *target {
                    found.insert(after);
                } else if after == *target {
                    found.insert(before);
                }
            }
        }
    }
    found.retain(|target| log.is_quarantined(target) && !known.contains(target));
    found
}

/// The target that the step gives another name.
pub(super) fn renamed_from(step: &Step) -> Option<Target> {
    let Action::Schema(change) = &step.action else { return None };
    change.before.as_ref().map(Target::of).filter(|before| *before != Target::of(&step.table))
}
