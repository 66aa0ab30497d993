//! Named parameters of the Data API: `:name` stands for a value, never for a name, and the server casts it.

use std::collections::BTreeSet;

use super::lexer::{Kind, Token};

/// Puts values in place of parameters. Returns the names that were used; unknown ones stay and fail in the parser.
pub(crate) fn bind(tokens: &mut [Token], values: &[(String, String)]) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for token in tokens {
        let Kind::Parameter(name) = &token.kind else { continue };
        if let Some((name, value)) = values.iter().find(|(known, _)| known == name) {
            used.insert(name.clone());
            token.kind = Kind::Text(value.clone());
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redshift::sql::lexer::{render, tokens};

    #[test]
    fn values_become_literals_whatever_they_hold() {
        let mut tokens = tokens("select * from t where a = :a and b = :b::int").unwrap();
        let used = bind(&mut tokens, &[("a".into(), "x' or '1'='1".into())]);
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["a"]);
        assert_eq!(render(&tokens), "select * from t where a = 'x'' or ''1''=''1' and b = :b::int");
    }
}
