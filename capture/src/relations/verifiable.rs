//! The tables whose rows in Redshift have to be the source's.

use super::Relations;
use crate::verify::KnownNow;

impl Relations {
    /// Every table that the stream goes on with, as Redshift has it once all that came is loaded.
    #[must_use]
    pub fn verifiable(&self) -> Vec<KnownNow> {
        let there = self.known.tables.values().filter(|known| !known.gone);
        let now = there.map(|known| {
            let excuse = if self.known.wishes.contains_key(&known.table.oid) {
                Some("it is to be read anew, or being read".to_owned())
            } else {
                let reasons = known.needs_resync.join("; ");
                (!reasons.is_empty()).then(|| format!("it needs a resync: {reasons}"))
            };
            KnownNow { table: known.table.clone(), excuse }
        });
        now.collect()
    }
}
