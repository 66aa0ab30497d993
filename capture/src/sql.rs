//! SQL text for PostgreSQL. Redshift's has other rules: `re_dms_shared::sql`.

/// A quoted name, whose case stays as it is.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal, for replication commands as well: none of its readers takes a backslash for an escape
/// (`standard_conforming_strings` is on, whatever the server's settings say: `ConnectParams::sql`).
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
