//! Partitions that come with rows, go with rows, or lose them: PostgreSQL sends nothing of that through the root. What the catalog
//! says of a root's partitions is compared with what it said before.

use std::collections::BTreeMap;

use super::Relations;
use super::look::{LeafNow, TableNow};

impl TableNow {
    /// By OID, what its partitions' rows are stored in.
    pub(super) fn leaves(&self) -> Option<BTreeMap<u32, i64>> {
        let leaves = self.leaves.as_ref()?;
        Some(leaves.iter().map(|leaf| (leaf.oid, leaf.storage)).collect())
    }
}

impl Relations {
    /// The catalog was looked at: rows of the root may have come or gone unseen.
    pub(super) fn partitions_seen(&mut self, now: &TableNow) {
        let (Some(leaves), Some(seen)) = (&now.leaves, now.leaves()) else { return };
        let Some(known) = self.known.tables.get_mut(&now.oid) else { return };
        let Some(before) = known.leaves.replace(seen) else {
            self.is_news = true;
            return;
        };
        if known.leaves.as_ref() == Some(&before) {
            return;
        }
        self.is_news = true;
        let reasons = reasons(&before, leaves);
        if !reasons.is_empty() {
            tracing::info!(table = %known.table.name, reasons = reasons.join("; "), "its partitions changed");
        }
        for reason in reasons {
            if !known.needs_resync.contains(&reason) {
                known.needs_resync.push(reason);
            }
        }
        // Tables of their own before: nothing more comes under their names.
        for leaf in leaves {
            self.forsake(leaf.oid);
        }
    }
}

fn reasons(before: &BTreeMap<u32, i64>, now: &[LeafNow]) -> Vec<String> {
    let mut reasons = Vec::new();
    if now.iter().any(|leaf| leaf.joined && !before.contains_key(&leaf.oid)) {
        reasons.push("a partition was attached: rows that it held are missing".to_owned());
    }
    if before.keys().any(|oid| now.iter().all(|leaf| leaf.oid != *oid)) {
        reasons.push("a partition was detached or dropped: rows that it held are still there".to_owned());
    }
    let rewritten = |leaf: &&LeafNow| before.get(&leaf.oid).is_some_and(|storage| *storage != leaf.storage);
    if now.iter().any(|leaf| rewritten(&leaf)) {
        reasons.push(
            "a partition was truncated or written anew: rows that it held may still be there".to_owned(),
        );
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_have_moved_rows_unseen_counts() {
        let before = BTreeMap::from([(1, 10), (2, 20)]);
        let leaf = |oid, storage, joined| LeafNow { oid, storage, joined };
        let said = |now: &[LeafNow]| reasons(&before, now).join(" | ");
        assert_eq!(said(&[leaf(1, 10, true), leaf(2, 20, false)]), "");
        assert_eq!(said(&[leaf(1, 10, false), leaf(2, 20, false), leaf(3, 30, false)]), "", "made as one");
        assert!(said(&[leaf(1, 10, false), leaf(2, 20, false), leaf(3, 30, true)]).contains("attached"));
        assert!(said(&[leaf(2, 20, false)]).contains("detached"));
        assert!(said(&[leaf(1, 10, false), leaf(2, 21, false)]).contains("truncated"));
    }
}
