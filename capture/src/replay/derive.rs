//! From a segment of the history to those of the replay's own stream: the same files, other targets, only the tables that are
//! meant, numbered anew. Pure.
//!
//! A table that was read anew is a table that is emptied and copied: nobody reads it meanwhile. What waited for its rows
//! comes behind them, as it did then. If they are beyond the end of the replay nothing waits for them: that is as far as
//! the table's history goes.

use std::collections::{BTreeMap, BTreeSet};

use re_dms_shared::manifest::{
    Action, CopiedTable, CopiedTables, Manifest, Predecessor, Step, Table, TableChange,
};

use super::Oids;

/// How segments are derived, and how far that is.
#[derive(Clone, Debug)]
pub(crate) struct Derivation {
    stream: String,
    into: Option<String>,
    oids: Oids,
    copied: Option<CopiedTables>,
    /// Where tables begin to wait for rows that come before the end: segments and numbers of their steps.
    waits: BTreeSet<(u64, u32)>,
    /// What waits now, by table.
    waiting: BTreeMap<u32, Vec<Step>>,
    /// The last one.
    last: Option<Predecessor>,
}

impl Derivation {
    pub(super) fn new(
        stream: &str,
        into: Option<&str>,
        oids: Oids,
        copied: Option<CopiedTables>,
        waits: BTreeSet<(u64, u32)>,
    ) -> Self {
        let into = into.map(str::to_ascii_lowercase);
        Self { stream: stream.to_owned(), into, oids, copied, waits, waiting: BTreeMap::new(), last: None }
    }

    /// The last segment that was made, or found to be made.
    pub(super) fn made(&mut self, seq: u64, sha256: String) {
        self.last = Some(Predecessor { seq, sha256 });
    }

    /// What this segment becomes, without number and predecessor: none if it is about other tables.
    pub(crate) fn drafts(&mut self, segment: &Manifest) -> Vec<Manifest> {
        let draft = |steps, copy| Manifest {
            stream: self.stream.clone(),
            predecessor: None,
            // Only the capture reads them, and there is none.
            shapes: None,
            // Looked at here.
            after_copy: None,
            copy,
            steps,
            ..segment.clone()
        };
        let mut drafts = Vec::new();
        let mut steps = Vec::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        for step in segment.steps.iter().filter(|step| self.is_needed(segment, step)) {
            let (oid, step) = (step.table.oid, self.step(step));
            match &step.action {
                Action::Resync => {
                    if self.waits.contains(&(segment.seq, step.number)) {
                        waiting.insert(oid, Vec::new());
                    }
                }
                Action::Replace(load) => {
                    let Some(waited) = waiting.remove(&oid) else { continue };
                    let Step { number, table, .. } = &step;
                    let (number, table) = (*number, table.clone());
                    let (schema, name) = (table.schema.clone(), table.name.clone());
                    let copy = CopiedTable { oid, schema, name, snapshot: segment.start_lsn };
                    steps.push(Step { number, table: table.clone(), action: Action::Truncate });
                    drafts.push(draft(std::mem::take(&mut steps), None));
                    let rows = Step { number, table, action: Action::Load(load.clone()) };
                    drafts.push(draft(vec![rows], Some(copy)));
                    steps.extend(waited);
                }
                _ => match waiting.get_mut(&oid) {
                    Some(waiting) => waiting.push(step),
                    None => steps.push(step),
                },
            }
        }
        if !steps.is_empty() {
            drafts.push(draft(steps, segment.copy.clone()));
        }
        if drafts.len() > 1 {
            // Steps that waited come from other segments.
            for draft in &mut drafts {
                draft.steps.iter_mut().zip(1..).for_each(|(step, number)| step.number = number);
            }
        }
        self.waiting = waiting;
        drafts
    }

    /// The draft as the next segment of the replay.
    pub(super) fn number(&self, draft: Manifest) -> Manifest {
        let seq = self.last.as_ref().map_or(0, |last| last.seq) + 1;
        Manifest { seq, predecessor: self.last.clone(), ..draft }
    }

    fn is_needed(&self, segment: &Manifest, step: &Step) -> bool {
        let is_in_copy = segment.after_copy.is_some()
            && self.copied.as_ref().is_some_and(|copied| copied.holds(step.table.oid, segment.end_lsn));
        self.oids.contains(&step.table.oid) && !is_in_copy
    }

    fn step(&self, step: &Step) -> Step {
        let table = self.table(&step.table);
        let action = match &step.action {
            Action::Schema(change) => {
                let mut change = change.clone();
                change.before = change.before.as_ref().map(|before| self.table(before));
                // What was held was done or will be: there is nobody to approve it once more.
                change.hold = false;
                let stays = change.before.as_ref().is_some_and(|before| {
                    (&before.target_schema, &before.target_name) == (&table.target_schema, &table.target_name)
                });
                change.changes.retain(|one| !(stays && *one == TableChange::Move));
                Action::Schema(change)
            }
            action => action.clone(),
        };
        Step { number: step.number, table, action }
    }

    fn table(&self, table: &Table) -> Table {
        let target_schema = self.into.clone().unwrap_or_else(|| table.target_schema.clone());
        Table { target_schema, ..table.clone() }
    }
}

/// Who has which name at a time, should all tables be in one schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// By name, its owners with the schemas that they are in.
    taken: BTreeMap<String, BTreeMap<u32, String>>,
    /// Tables that have one name at the same time, with their schemas and that name.
    pub(super) collisions: BTreeMap<(u32, u32), String>,
}

impl Names {
    pub(super) fn see(&mut self, step: &Step) {
        let Table { target_schema, target_name, oid, .. } = &step.table;
        let name = target_name.to_ascii_lowercase();
        if let Action::Schema(change) = &step.action {
            if let Some(before) = &change.before
                && let Some(owners) = self.taken.get_mut(&before.target_name.to_ascii_lowercase())
            {
                owners.remove(oid);
            }
            if change.changes.contains(&TableChange::Drop) {
                return;
            }
        }
        let owners = self.taken.entry(name.clone()).or_default();
        // Within one schema the stream itself sees to it that no two have one name.
        for (other, schema) in
            owners.iter().filter(|(other, schema)| *other != oid && *schema != target_schema)
        {
            let both = format!("{schema}.{name} and {target_schema}.{name}");
            self.collisions.insert((*other, *oid), both);
        }
        owners.insert(*oid, target_schema.clone());
    }
}

#[cfg(test)]
mod tests {
    use re_dms_shared::Lsn;
    use re_dms_shared::manifest::{Column, Compression, CopiedTable, Layout, Load, RowCounts, SchemaChange};
    use re_dms_shared::types::RedshiftType;

    use super::*;

    fn table(oid: u32, schema: &str, name: &str) -> Table {
        Table {
            schema: schema.into(),
            name: name.into(),
            oid,
            target_schema: schema.into(),
            target_name: name.into(),
            columns: vec![Column {
                name: "id".into(),
                attribute_number: None,
                type_oid: 23,
                type_modifier: -1,
                target_name: "id".into(),
                redshift_type: RedshiftType::Integer,
                key: true,
            }],
            kept: Vec::new(),
            layout: Layout::default(),
        }
    }

    fn segment(seq: u64, end: u64, steps: Vec<Step>) -> Manifest {
        Manifest {
            format: 4,
            stream: "main".into(),
            epoch: "E".into(),
            seq,
            predecessor: Some(Predecessor { seq: seq - 1, sha256: "old".into() }),
            start_lsn: Lsn(end - 1),
            end_lsn: Lsn(end),
            first_commit_time: jiff::Timestamp::UNIX_EPOCH,
            last_commit_time: jiff::Timestamp::UNIX_EPOCH,
            transactions: 1,
            captured_by: "test".into(),
            shapes: Some("shapes".into()),
            copy: None,
            after_copy: Some("copied.json".into()),
            restores: None,
            steps,
        }
    }

    fn truncate(number: u32, table: Table) -> Step {
        Step { number, table, action: Action::Truncate }
    }

    fn derivation(oids: &[u32]) -> Derivation {
        let copied = CopiedTables {
            format: 1,
            shapes: String::new(),
            tables: vec![CopiedTable { oid: 1, schema: "a".into(), name: "t".into(), snapshot: Lsn(100) }],
        };
        let waits = [(20, 2)].into();
        Derivation::new("past", Some("Then"), oids.iter().copied().collect(), Some(copied), waits)
    }

    fn next(derivation: &mut Derivation, segment: &Manifest) -> Option<Manifest> {
        let mut drafts = derivation.drafts(segment);
        assert!(drafts.len() < 2, "{drafts:?}");
        drafts.pop().map(|draft| derivation.number(draft))
    }

    #[test]
    fn other_tables_and_what_the_copy_holds_are_left_out_and_numbers_have_no_gaps() {
        let mut derivation = derivation(&[1, 2]);
        let steps = || vec![truncate(1, table(1, "a", "t")), truncate(2, table(3, "a", "x"))];
        assert_eq!(next(&mut derivation, &segment(5, 100, steps())), None, "the copy holds it");
        assert_eq!(next(&mut derivation, &segment(6, 110, vec![truncate(1, table(3, "a", "x"))])), None);
        let first = next(&mut derivation, &segment(7, 120, steps())).unwrap();
        assert_eq!((first.seq, &first.predecessor, first.stream.as_str()), (1, &None, "past"));
        assert_eq!((first.steps.len(), &first.shapes, &first.after_copy), (1, &None, &None));
        assert_eq!(first.steps[0].table.target_schema, "then");
        derivation.made(1, "sha".into());
        let second = next(&mut derivation, &segment(9, 130, vec![truncate(4, table(2, "b", "u"))])).unwrap();
        assert_eq!(second.predecessor, Some(Predecessor { seq: 1, sha256: "sha".into() }));
        assert_eq!((second.seq, second.steps[0].number, second.end_lsn), (2, 4, Lsn(130)));
    }

    #[test]
    fn a_table_that_was_read_anew_is_emptied_and_copied_and_what_waited_comes_behind() {
        let mut derivation = derivation(&[2, 3]);
        let step = |number, oid, action| Step { number, table: table(oid, "b", "u"), action };
        let load = Load {
            copy_manifest: "rows".into(),
            files: Vec::new(),
            compression: Compression::Gzip,
            tagged_keys: false,
            rows: RowCounts { inserts: 5, ..RowCounts::default() },
            present_sets: Vec::new(),
            altered: Vec::new(),
        };
        // The first one is never followed by rows.
        let early = segment(19, 200, vec![step(1, 2, Action::Resync), step(2, 2, Action::Truncate)]);
        assert_eq!(next(&mut derivation, &early).unwrap().steps.len(), 1);
        let begins = vec![
            step(1, 2, Action::Truncate),
            step(2, 2, Action::Resync),
            step(3, 2, Action::Truncate),
            step(4, 3, Action::Truncate),
        ];
        let numbers = |manifest: &Manifest| manifest.steps.iter().map(|step| step.number).collect::<Vec<_>>();
        let begun = next(&mut derivation, &segment(20, 210, begins)).unwrap();
        assert_eq!(numbers(&begun), [1, 4]);
        let ends = vec![
            step(1, 3, Action::Truncate),
            step(2, 2, Action::Truncate),
            step(3, 2, Action::Replace(load.clone())),
            step(4, 2, Action::Truncate),
        ];
        let drafts = derivation.drafts(&segment(22, 230, ends));
        assert_eq!(drafts.iter().map(numbers).collect::<Vec<_>>(), [vec![1, 2], vec![1], vec![1, 2, 3]]);
        assert_eq!(drafts[0].steps[1].action, Action::Truncate);
        assert_eq!(drafts[1].steps[0].action, Action::Load(load));
        assert_eq!(drafts.iter().map(|draft| draft.copy.is_some()).collect::<Vec<_>>(), [false, true, false]);
        assert!(drafts[2].steps.iter().all(|step| step.table.oid == 2), "what waited, and what came behind");
    }

    #[test]
    fn a_move_between_schemas_that_become_one_is_none() {
        let change = |from: Table, to: Table| Step {
            number: 1,
            table: to,
            action: Action::Schema(SchemaChange {
                before: Some(from),
                changes: vec![TableChange::Move],
                unproven: Vec::new(),
                hold: true,
            }),
        };
        let moved = |from: Table, to: Table| {
            let derived = next(&mut derivation(&[2]), &segment(7, 120, vec![change(from, to)])).unwrap();
            let Action::Schema(change) = derived.steps[0].action.clone() else { panic!("{derived:?}") };
            assert!(!change.hold);
            (change.before.unwrap().target_schema, change.changes)
        };
        assert_eq!(moved(table(2, "a", "t"), table(2, "b", "t")), ("then".to_owned(), vec![]));
        assert_eq!(moved(table(2, "a", "t"), table(2, "b", "u")).1, vec![TableChange::Move]);
    }

    #[test]
    fn tables_of_one_name_in_two_schemas_collide_only_at_the_same_time() {
        let mut names = Names::default();
        names.see(&truncate(1, table(1, "a", "t")));
        names.see(&truncate(1, table(2, "a", "t")));
        assert!(names.collisions.is_empty(), "made anew under its name");
        names.see(&truncate(1, table(3, "b", "T")));
        assert_eq!(names.collisions.keys().copied().collect::<Vec<_>>(), [(1, 3), (2, 3)]);
        let mut names = Names::default();
        names.see(&truncate(1, table(1, "a", "t")));
        names.see(&Step {
            number: 1,
            table: table(1, "a", "old"),
            action: Action::Schema(SchemaChange {
                before: Some(table(1, "a", "t")),
                changes: vec![TableChange::Move],
                unproven: Vec::new(),
                hold: false,
            }),
        });
        names.see(&truncate(1, table(3, "b", "t")));
        assert!(names.collisions.is_empty());
    }
}
