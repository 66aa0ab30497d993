//! Segments that are applied together: those that wait in one delivery, as far as they fit into one batch. A batch
//! ends by itself whatever becomes of this invocation, so that the next one may group them in another way.

use std::collections::BTreeMap;

use re_dms_shared::manifest::{Action, Manifest};

use crate::apply::Segment;
use re_dms_plan::{self as plan, StagedSegment};

/// The most that a group's files may have together, compressed: beyond it a transaction of its own costs little.
const GROUP_BYTES: u64 = 64 << 20;

/// How many segments, from the first on, go together.
pub(super) fn fitting(input: &plan::Input<'_>) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    for segment in input.segments {
        bytes += files_bytes(segment.manifest);
        let follows = count == 0 || continues(&input.segments[count - 1], segment);
        // What a change needs before its transaction must not come before the segments in front of it.
        let has_change = changes_tables(segment.manifest);
        if !follows || (count > 0 && (bytes > GROUP_BYTES || has_change)) {
            break;
        }
        count += 1;
        if has_change {
            break;
        }
    }
    let fits = |count: &usize| {
        let input = plan::Input { segments: &input.segments[..*count], ..*input };
        plan::plan(&input, &BTreeMap::new()).is_ok_and(|plan| plan.is_one_batch())
    };
    (2..=count).rev().find(fits).unwrap_or(1)
}

fn changes_tables(manifest: &Manifest) -> bool {
    manifest.steps.iter().any(|step| matches!(step.action, Action::Schema(_)))
}

/// The files' size, compressed.
pub(super) fn files_bytes(manifest: &Manifest) -> u64 {
    let of_step = |action: &Action| match action {
        // Rows that were read anew as a whole come later, by themselves.
        Action::Replace(_) => 0,
        action => action.load().map_or(0, |load| load.files.iter().map(|file| file.bytes).sum()),
    };
    manifest.steps.iter().map(|step| of_step(&step.action)).sum()
}

fn continues(before: &StagedSegment<'_>, after: &StagedSegment<'_>) -> bool {
    let (old, new) = (before.manifest, after.manifest);
    let predecessor = new.predecessor.as_ref().map(|segment| (segment.seq, segment.sha256.as_str()));
    (&old.stream, &old.epoch) == (&new.stream, &new.epoch)
        && before.bucket == after.bucket
        && predecessor == Some((old.seq, before.manifest_sha256))
}

/// What Redshift's history calls the transaction.
pub(super) fn name(segments: &[StagedSegment<'_>]) -> String {
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return "re_dms".to_owned() };
    let Manifest { stream, epoch, seq, .. } = first.manifest;
    if segments.len() == 1 {
        format!("re_dms/{stream}/{epoch}/{seq}")
    } else {
        format!("re_dms/{stream}/{epoch}/{seq}-{}", last.manifest.seq)
    }
}

/// The first manifest with the steps of all.
pub(crate) fn all_steps(segments: &[Segment]) -> Manifest {
    let mut all = segments[0].manifest.clone();
    for segment in &segments[1..] {
        all.steps.extend(segment.manifest.steps.iter().cloned());
    }
    all
}
