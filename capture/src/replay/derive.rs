//! From a segment of the history to one of the replay's own stream: the same files, other targets, only the tables that are
//! meant, numbered anew. Pure.

use std::collections::BTreeMap;

use re_dms_shared::manifest::{Action, CopiedTables, Manifest, Predecessor, Step, Table, TableChange};

use super::Oids;

/// How segments are derived, and how far that is.
#[derive(Clone, Debug)]
pub(crate) struct Derivation {
    stream: String,
    into: Option<String>,
    oids: Oids,
    copied: Option<CopiedTables>,
    /// The last one.
    last: Option<Predecessor>,
}

impl Derivation {
    pub(super) fn new(stream: &str, into: Option<&str>, oids: Oids, copied: Option<CopiedTables>) -> Self {
        let into = into.map(str::to_ascii_lowercase);
        Self { stream: stream.to_owned(), into, oids, copied, last: None }
    }

    /// The last segment that was made, or found to be made.
    pub(super) fn made(&mut self, seq: u64, sha256: String) {
        self.last = Some(Predecessor { seq, sha256 });
    }

    /// The next segment of the replay; none if this one is about other tables.
    pub(crate) fn next(&self, segment: &Manifest) -> Option<Manifest> {
        let steps: Vec<_> = segment.steps.iter().filter(|step| self.is_needed(segment, step)).collect();
        if steps.is_empty() {
            return None;
        }
        let steps = steps.into_iter().map(|step| self.step(step)).collect();
        Some(Manifest {
            stream: self.stream.clone(),
            seq: self.last.as_ref().map_or(0, |last| last.seq) + 1,
            predecessor: self.last.clone(),
            // Only the capture reads them, and there is none.
            shapes: None,
            // Looked at here.
            after_copy: None,
            steps,
            ..segment.clone()
        })
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
    use re_dms_shared::manifest::{Column, CopiedTable, Layout, SchemaChange};
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
        Derivation::new("past", Some("Then"), oids.iter().copied().collect(), Some(copied))
    }

    #[test]
    fn other_tables_and_what_the_copy_holds_are_left_out_and_numbers_have_no_gaps() {
        let mut derivation = derivation(&[1, 2]);
        let steps = || vec![truncate(1, table(1, "a", "t")), truncate(2, table(3, "a", "x"))];
        assert_eq!(derivation.next(&segment(5, 100, steps())), None, "the copy holds it");
        assert_eq!(derivation.next(&segment(6, 110, vec![truncate(1, table(3, "a", "x"))])), None);
        let first = derivation.next(&segment(7, 120, steps())).unwrap();
        assert_eq!((first.seq, &first.predecessor, first.stream.as_str()), (1, &None, "past"));
        assert_eq!((first.steps.len(), &first.shapes, &first.after_copy), (1, &None, &None));
        assert_eq!(first.steps[0].table.target_schema, "then");
        derivation.made(1, "sha".into());
        let second = derivation.next(&segment(9, 130, vec![truncate(4, table(2, "b", "u"))])).unwrap();
        assert_eq!(second.predecessor, Some(Predecessor { seq: 1, sha256: "sha".into() }));
        assert_eq!((second.seq, second.steps[0].number, second.end_lsn), (2, 4, Lsn(130)));
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
            let derived = derivation(&[2]).next(&segment(7, 120, vec![change(from, to)])).unwrap();
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
