//! Which tables are replicated: the capture config's `schema.table` patterns, read independently of the capture.

/// Include and exclude patterns.
#[derive(Debug)]
pub struct TableGlobs {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl TableGlobs {
    /// Without an include list all tables are in.
    #[must_use]
    pub fn new(include: Option<Vec<String>>, exclude: Option<Vec<String>>) -> Self {
        Self { include: include.unwrap_or_else(|| vec!["*.*".into()]), exclude: exclude.unwrap_or_default() }
    }

    /// Is this table replicated?
    #[must_use]
    pub fn pick(&self, schema: &str, table: &str) -> bool {
        let matches = |pattern: &String| {
            pattern
                .split_once('.')
                .is_some_and(|(schema_glob, table_glob)| glob(schema_glob, schema) && glob(table_glob, table))
        };
        self.include.iter().any(matches) && !self.exclude.iter().any(matches)
    }
}

/// `*` is any text, `?` one character.
fn glob(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.into_iter().any(|at| glob(rest.as_str(), &text[at..]))
        }
        Some(wanted) => {
            let mut characters = text.chars();
            let found = characters.next();
            found.is_some_and(|found| wanted == '?' || wanted == found)
                && glob(rest.as_str(), characters.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_pick_tables() {
        let list = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        let globs = TableGlobs::new(list(&["public.*", "sales.order_?"]), list(&["*.secret*"]));
        assert!(globs.pick("public", "größe"));
        assert!(globs.pick("sales", "order_1"));
        assert!(!globs.pick("sales", "order_10"));
        assert!(!globs.pick("public", "secrets"));
        assert!(TableGlobs::new(None, None).pick("any", "thing"));
    }
}
