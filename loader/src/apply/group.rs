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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use re_dms_plan::{Catalog, CopySettings, TableLog};
    use re_dms_shared::manifest::{SchemaChange, Step, TableChange};

    use super::super::tests::manifest;
    use super::*;
    use crate::fake::load_step;

    fn load(number: u32, table: &str, bytes: u64) -> Step {
        let mut step = load_step(number, table, "c".into());
        if let Action::Load(load) = &mut step.action {
            load.files[0].bytes = bytes;
        }
        step
    }

    fn change(number: u32) -> Step {
        let changes = vec![TableChange::Create];
        let change = SchemaChange { before: None, changes, unproven: Vec::new(), hold: false };
        Step { action: Action::Schema(change), ..load_step(number, "t", "c".into()) }
    }

    /// How many go together of segments with these steps.
    fn together(segments: &[Vec<Step>]) -> usize {
        let manifests: Vec<_> = (1..)
            .zip(segments)
            .map(|(seq, steps)| Manifest { steps: steps.clone(), ..manifest(seq) })
            .collect();
        let sums: Vec<_> = manifests.iter().map(|manifest| format!("sha{}", manifest.seq)).collect();
        let staged = manifests.iter().zip(&sums).map(|(manifest, manifest_sha256)| StagedSegment {
            manifest,
            manifest_sha256,
            bucket: "b",
            manifest_key: "k",
        });
        let (segments, copy, catalog) =
            (staged.collect::<Vec<_>>(), CopySettings::default(), Catalog::default());
        let log = TableLog::new(SystemTime::UNIX_EPOCH, "E", 1);
        fitting(&plan::Input { segments: &segments, copy: &copy, catalog: &catalog, log: &log })
    }

    #[test]
    fn small_segments_go_together_up_to_a_batch() {
        let small = vec![load(1, "t", 1)];
        assert_eq!(together(&[small.clone(), small.clone(), small.clone()]), 3);
        // One statement to lock, one to guard, one to record, and five for the first load of each table.
        let four: Vec<_> = (1..=4).map(|number| load(number, &format!("t{number}"), 1)).collect();
        assert_eq!(together(&vec![four; 5]), 2);
    }

    #[test]
    fn large_ones_do_not() {
        let large = vec![load(1, "t", 40 << 20)];
        assert_eq!(together(&[large.clone(), large]), 1);
        let half = vec![load(1, "t", 32 << 20)];
        assert_eq!(together(&[half.clone(), half.clone(), half]), 2);
    }

    #[test]
    fn a_change_comes_first_and_alone() {
        let small = vec![load(1, "t", 1)];
        assert_eq!(together(&[small.clone(), vec![change(1), load(2, "t", 1)], small.clone()]), 1);
        assert_eq!(together(&[vec![change(1)], small]), 1);
    }
}
