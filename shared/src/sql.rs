//! SQL text for Redshift: the only place that quotes identifiers and literals.

/// A quoted identifier. Redshift folds ASCII letters to lower case even inside quotes, so the fold is done here, where
/// it can be seen (`redshift.md`, 2.2).
#[must_use]
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.to_ascii_lowercase().replace('"', "\"\""))
}

/// `"schema"."table"`.
#[must_use]
pub fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", ident(schema), ident(table))
}

/// A string literal. Redshift takes a backslash inside `'…'` for an escape, so both `'` and `\` are doubled
/// (`redshift.md`, 1.4). `COPY`'s option strings follow another rule and are not made with this.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_folded_and_quoted() {
        assert_eq!(ident("Order"), "\"order\"");
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(ident("Größe"), "\"größe\"");
        assert_eq!(qualified("Public", "T"), "\"public\".\"t\"");
    }

    #[test]
    fn literals_double_quotes_and_backslashes() {
        assert_eq!(literal(r"it's \N"), r"'it''s \\N'");
    }
}
