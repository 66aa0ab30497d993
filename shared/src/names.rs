//! From the source's names to the target's.

/// Column names that PostgreSQL's system columns take in Redshift too; no user column may have them
/// (`redshift.md`, 2.2).
const SYSTEM_COLUMNS: [&str; 7] = ["oid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Redshift's limit for identifiers, in bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 127;

/// The prefix of everything that re_dms makes for itself in Redshift: its schema, staging tables and columns.
pub const OWN_PREFIX: &str = "re_dms_";

/// The schema in Redshift that holds the ledgers.
pub const OWN_SCHEMA: &str = "re_dms";

/// A schema's or table's name in Redshift: in lower case, as Redshift itself would fold it.
#[must_use]
pub fn target_name(source: &str) -> String {
    source.to_ascii_lowercase()
}

/// A column's name in Redshift: in lower case; a system column's name, or one that begins like our own staging columns,
/// gets an underscore at its end.
#[must_use]
pub fn target_column(source: &str) -> String {
    let folded = source.to_ascii_lowercase();
    if SYSTEM_COLUMNS.contains(&folded.as_str()) || folded.starts_with(OWN_PREFIX) {
        folded + "_"
    } else {
        folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_avoid_what_redshift_keeps_for_itself() {
        assert_eq!(target_column("Id"), "id");
        assert_eq!(target_column("OID"), "oid_");
        assert_eq!(target_column("xmin"), "xmin_");
        assert_eq!(target_column("re_dms_op"), "re_dms_op_");
    }
}
