//! Segments whose tables are committed one by one: a transaction each, in the order of their first steps. Each but the last
//! one records in the table log that its tables are done; the last one takes these records away again and writes the
//! ledger's rows. A plan that is made after a death in between leaves out what is done, whoever makes it, whatever is
//! planned together then.
//!
//! The next one's guard wants the log as the one before leaves it, so that each runs once.
//!
//! Where loads are staged before, little is left to do for each table, and much of a transaction is what every one needs: so
//! tables share one, as many as one call of the API holds. Whoever failed before is alone.

use std::collections::{BTreeMap, BTreeSet};

use re_dms_shared::manifest::{Action, Step};

use super::{
    BATCH_STATEMENTS, Blame, Input, Plan, PlanError, Scope, Target, Transport, renamed_from, transaction,
};

/// Statements of a transaction that are about no table: the lock, the guard, one that drops what was staged, and the log's
/// rows.
const NOT_ABOUT_TABLES: usize = 6;

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
    let parts = if private { share(input, bad, parts)? } else { parts };
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

/// Puts parts that follow each other together. From the front, so that whoever goes on in the middle finds the same ones.
fn share(
    input: &Input<'_>,
    bad: &BTreeMap<Target, Blame>,
    parts: Vec<BTreeSet<Target>>,
) -> Result<Vec<BTreeSet<Target>>, PlanError> {
    let mut shared: Vec<BTreeSet<Target>> = Vec::new();
    let mut room = 0;
    for part in parts {
        let scope = Scope { targets: Some(&part), change: 0, is_last: false, private: true };
        let plan = transaction(input, bad, &scope)?;
        let about = plan.statements.iter().filter(|statement| statement.of.is_some()).count();
        let is_shareable = plan.transport == Transport::Batch && plan.before.is_empty();
        let most = BATCH_STATEMENTS - NOT_ABOUT_TABLES;
        match shared.last_mut() {
            _ if !is_shareable || !holds_loads_alone(input, bad, &part) => {
                shared.push(part);
                room = 0;
            }
            Some(before) if about <= room => {
                before.extend(part);
                room -= about;
            }
            _ => {
                shared.push(part);
                room = most.saturating_sub(about);
            }
        }
    }
    Ok(shared)
}

/// Whether nothing but rows comes to these targets, and nothing went wrong with them yet.
fn holds_loads_alone(input: &Input<'_>, bad: &BTreeMap<Target, Blame>, part: &BTreeSet<Target>) -> bool {
    let is_well = |target: &Target| {
        !bad.contains_key(target) && !input.log.is_quarantined(target) && input.log.failures(target) == 0
    };
    let mut steps = input.segments.iter().flat_map(|segment| &segment.manifest.steps);
    part.iter().all(is_well)
        && steps.all(|step| {
            matches!(step.action, Action::Load(_) | Action::Truncate)
                || !part.contains(&Target::of(&step.table))
        })
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
