//! What goes from the table log again: rows that nothing follows from any more. Its last row stays, so that no number comes
//! twice.

use jiff::Timestamp;
use re_dms_shared::sql::literal;
use re_dms_shared::table_log::qualified_name;

use super::Target;
use crate::ledger;

/// Targets whose past is removed at a time, so that the text stays well below the Data API's limit.
const TARGETS_A_PRUNING: usize = 100;

/// Removes what was recorded of single tables of segments up to this one, which the ledger has from then on. The log's
/// last row, `change`, stays: a number that came twice would let a plan pass that was made from another log.
pub(crate) fn forget_loaded(stream: &str, epoch: &str, seq: u64, change: u64) -> String {
    format!(
        "DELETE FROM {} WHERE \"event\" = 'loaded' AND \"epoch\" = {} AND \"seq\" <= {seq} AND \"change\" < {change}",
        qualified_name(stream),
        literal(epoch)
    )
}

/// The targets whose last quarantine ended before that time, each with the number of the row that says so. Never the log's
/// last row.
#[must_use]
pub fn ended(stream: &str, before: Timestamp) -> String {
    let log = qualified_name(stream);
    format!(
        "SELECT \"target_schema\", \"target_name\", MAX(\"change\") FROM {log} WHERE \"event\" = 'resumed' AND \"at\" < {} \
         AND \"change\" < (SELECT MAX(\"change\") FROM {log}) GROUP BY \"target_schema\", \"target_name\" LIMIT {TARGETS_A_PRUNING}",
        ledger::timestamp(before)
    )
}

/// Removes what befell these targets up to these rows, as a transaction.
#[must_use]
pub fn prune(stream: &str, ended: &[(Target, u64)]) -> Vec<String> {
    let over = |(target, change): &(Target, u64)| {
        let (schema, name) = (literal(&target.schema), literal(&target.name));
        format!("(\"target_schema\" = {schema} AND \"target_name\" = {name} AND \"change\" <= {change})")
    };
    let over: Vec<_> = ended.iter().map(over).collect();
    let log = qualified_name(stream);
    let delete = format!("DELETE FROM {log} WHERE \"event\" <> 'loaded' AND ({})", over.join(" OR "));
    vec![ledger::lock(stream), delete]
}
