//! Which tables are replicated: `schema.table` with `*` and `?`.

use re_dms_shared::columns::glob;

/// Tables picked by patterns: those that an include matches and no exclude does.
#[derive(Clone, Debug)]
pub struct TablePatterns {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) schema: String,
    pub(super) table: String,
}

pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    match text.split_once('.') {
        Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
            Ok(Pattern { schema: schema.to_owned(), table: table.to_owned() })
        }
        _ => Err("must hold patterns of the form schema.table, such as public.* or sales.order_*".into()),
    }
}

impl TablePatterns {
    pub(super) fn new(include: Vec<Pattern>, exclude: Vec<Pattern>) -> Self {
        Self { include, exclude }
    }

    /// Is this table replicated?
    #[must_use]
    pub fn picks(&self, schema: &str, table: &str) -> bool {
        let matches = |pattern: &Pattern| glob(&pattern.schema, schema) && glob(&pattern.table, table);
        self.include.iter().any(matches) && !self.exclude.iter().any(matches)
    }

    /// Every table there is, without exception.
    #[must_use]
    pub fn picks_all(&self) -> bool {
        let all = |pattern: &Pattern| pattern.schema == "*" && pattern.table == "*";
        self.include.iter().any(all) && self.exclude.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_win() {
        let list = |texts: &[&str]| texts.iter().map(|text| pattern(text).unwrap()).collect::<Vec<_>>();
        let tables = TablePatterns::new(list(&["public.*", "sales.order_?"]), list(&["*.secret*"]));
        assert!(tables.picks("public", "users"));
        assert!(tables.picks("sales", "order_1"));
        assert!(!tables.picks("sales", "order_10"));
        assert!(!tables.picks("public", "secrets"));
        assert!(!tables.picks_all());
        assert!(TablePatterns::new(list(&["*.*"]), vec![]).picks_all());
    }
}
