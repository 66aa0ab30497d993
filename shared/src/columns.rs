//! What the configuration says of columns: which are left out, which are hashed, and the rules of the rest.

use crate::types::{ColumnRules, RuleError};

/// `schema.table.column` with `*` and `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnPattern {
    schema: String,
    table: String,
    column: String,
}

impl std::str::FromStr for ColumnPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        match (part(), part(), part()) {
            (Some(schema), Some(table), Some(column)) => Ok(Self { schema, table, column }),
            _ => {
                Err("must be of the form schema.table.column, such as *.users.email or sales.*.*_secret"
                    .into())
            }
        }
    }
}

impl ColumnPattern {
    fn matches(&self, schema: &str, table: &str, column: &str) -> bool {
        glob(&self.schema, schema) && glob(&self.table, table) && glob(&self.column, column)
    }
}

/// What is said of all columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Never stored anywhere.
    pub excluded: Vec<ColumnPattern>,
    /// Stored as hashes only.
    pub hashed: Vec<ColumnPattern>,
    /// The rules of a column that nothing more is said of.
    pub defaults: ColumnRules,
    /// More, by rules' names; where several match, the last one that names a rule counts.
    pub overrides: Vec<(ColumnPattern, Vec<(String, String)>)>,
}

impl Columns {
    /// Is this column left out?
    #[must_use]
    pub fn is_excluded(&self, schema: &str, table: &str, column: &str) -> bool {
        self.excluded.iter().any(|pattern| pattern.matches(schema, table, column))
    }

    /// Is it hashed? What is left out is not.
    #[must_use]
    pub fn is_hashed(&self, schema: &str, table: &str, column: &str) -> bool {
        self.hashed.iter().any(|pattern| pattern.matches(schema, table, column))
            && !self.is_excluded(schema, table, column)
    }

    /// Whether any column may be left out or hashed.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.excluded.is_empty() && self.hashed.is_empty()
    }

    /// Adds an override.
    ///
    /// # Errors
    /// If it names a rule that there is not, or a value that the rule does not take.
    pub fn add_override(
        &mut self,
        pattern: ColumnPattern,
        rules: Vec<(String, String)>,
    ) -> Result<(), RuleError> {
        let mut tried = ColumnRules::default();
        for (name, value) in &rules {
            tried.set(name, value)?;
        }
        self.overrides.push((pattern, rules));
        Ok(())
    }

    /// The column's rules.
    #[must_use]
    pub fn rules(&self, schema: &str, table: &str, column: &str) -> ColumnRules {
        let mut rules = self.defaults;
        let matching = self.overrides.iter().filter(|(pattern, _)| pattern.matches(schema, table, column));
        for (name, value) in matching.flat_map(|(_, rules)| rules) {
            // They were tried when they were added.
            let _ = rules.set(name, value);
        }
        rules
    }
}

/// `*` stands for any characters, `?` for one; case counts, as in PostgreSQL's catalog.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_at, taken)) = star {
            // let the last star take one more character
            star = Some((star_at, taken + 1));
            p = star_at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Policy, RedshiftType};

    #[test]
    fn globs_match_like_a_shell() {
        for (glob_text, text) in
            [("*", ""), ("*", "abc"), ("a*c", "abbc"), ("a?c", "abc"), ("*b*", "abc"), ("", "")]
        {
            assert!(glob(glob_text, text), "{glob_text} should match {text}");
        }
        for (glob_text, text) in [("a?c", "ac"), ("a*c", "abd"), ("", "a"), ("A", "a"), ("?", "")] {
            assert!(!glob(glob_text, text), "{glob_text} should not match {text}");
        }
    }

    #[test]
    fn leaving_out_wins_over_hashing_and_the_last_override_over_the_first() {
        let pattern = |text: &str| text.parse::<ColumnPattern>().unwrap();
        let mut columns = Columns {
            excluded: vec![pattern("*.users.ssn")],
            hashed: vec![pattern("public.users.*")],
            ..Columns::default()
        };
        assert!(columns.is_excluded("a", "users", "ssn") && !columns.is_hashed("public", "users", "ssn"));
        assert!(columns.is_hashed("public", "users", "id") && !columns.is_hashed("a", "users", "id"));
        let rule = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        columns.add_override(pattern("*.*.*_at"), rule("date", "saturate")).unwrap();
        columns.add_override(pattern("*.orders.*"), rule("date", "error")).unwrap();
        columns.add_override(pattern("*.orders.paid_at"), rule("type", "VARCHAR(40)")).unwrap();
        let rules = columns.rules("public", "orders", "paid_at");
        assert_eq!((rules.date, rules.redshift), (Policy::Error, Some(RedshiftType::Varchar(40))));
        assert_eq!(columns.rules("public", "users", "made_at").date, Policy::Saturate);
        assert_eq!(columns.rules("public", "users", "name"), ColumnRules::default());
        assert!(columns.add_override(pattern("*.*.*"), rule("date", "truncate")).is_err());
        assert!("users.email".parse::<ColumnPattern>().is_err());
    }
}
