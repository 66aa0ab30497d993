//! Segments whose tables are committed one by one: a transaction each, in the order of their first steps. Each but the last
//! one records in the table log that its tables are done; the last one takes these records away again and writes the
//! ledger's rows. A plan that is made after a death in between leaves out what is done, whoever makes it, whatever is
//! planned together then.
//!
//! The next one's guard wants the log as the one before leaves it, so that each runs once.

use std::collections::{BTreeMap, BTreeSet};

use re_dms_shared::manifest::Step;

use super::{Blame, Input, Plan, PlanError, Scope, Target, renamed_from, transaction};

/// Plans segments that follow each other as one transaction a table.
///
/// # Errors
/// As [`super::plan()`].
pub fn plan_by_table(input: &Input<'_>, bad: &BTreeMap<Target, Blame>) -> Result<Vec<Plan>, PlanError> {
    let mut left = BTreeSet::new();
    for segment in input.segments {
        let targets = segment.manifest.steps.iter().map(|step| Target::of(&step.table));
        left.extend(targets.filter(|target| !input.log.is_loaded(segment.manifest.seq, target)));
    }
    let waits = |target: &Target| bad.contains_key(target) || input.log.is_quarantined(target);
    let parts = parts(input.segments.iter().flat_map(|segment| &segment.manifest.steps))
        .into_iter()
        .filter(|part| !part.is_disjoint(&left));
    // What is skipped altogether is only recorded: that needs no transaction of its own.
    let (skipped, mut parts): (Vec<_>, Vec<_>) = parts.partition(|part| part.intersection(&left).all(waits));
    let mut last = parts.pop().unwrap_or_default();
    last.extend(skipped.into_iter().flatten());

    // All that is large is staged side by side, before the first one; also by whoever goes on in the middle.
    let from_the_start = input.log.without_loaded();
    let whole = transaction(&Input { log: &from_the_start, ..*input }, bad, &Scope::whole(input.log));
    let private = input.segments.len() == 1 && whole.is_ok_and(|plan| plan.is_large());
    let mut plans = Vec::new();
    let mut change = input.log.last_change();
    for part in &parts {
        let scope = Scope { targets: Some(part), change, is_last: false, private };
        let plan = transaction(input, bad, &scope)?;
        change = plan.last_change;
        plans.push(plan);
    }
    let targets = Some(&last).filter(|_| !plans.is_empty());
    plans.push(transaction(input, bad, &Scope { targets, change, is_last: true, private })?);
    Ok(plans)
}

/// The targets that go together: each step's, with the one whose name it takes.
fn parts<'a>(steps: impl Iterator<Item = &'a Step>) -> Vec<BTreeSet<Target>> {
    let mut parts: Vec<BTreeSet<Target>> = Vec::new();
    for step in steps {
        let named: BTreeSet<_> = std::iter::once(Target::of(&step.table)).chain(renamed_from(step)).collect();
        let place = parts.iter().position(|part| !part.is_disjoint(&named)).unwrap_or(parts.len());
        let (joined, apart): (Vec<_>, Vec<_>) =
            std::mem::take(&mut parts).into_iter().partition(|part| !part.is_disjoint(&named));
        parts = apart;
        parts.insert(place, joined.into_iter().flatten().chain(named).collect());
    }
    parts
}
