//! Reading tokens one after the other: the base of the stand-in's own small parsers.

use super::SqlError;
use super::lexer::{Kind, Token};
use super::names::{TableName, is_reserved, is_system_column};

/// A position in a statement's tokens.
pub(crate) struct Cursor<'a> {
    tokens: &'a [Token],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(tokens: &'a [Token]) -> Self {
        Self { tokens }
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [Token] {
        self.tokens
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The error that names the next token.
    pub(crate) fn syntax_error(&self) -> SqlError {
        match self.tokens.first() {
            Some(token) => SqlError::Syntax(token.shown()),
            None => SqlError::Refused("syntax error at end of input".to_owned()),
        }
    }

    pub(crate) fn expect_end(&self) -> Result<(), SqlError> {
        if self.is_at_end() { Ok(()) } else { Err(self.syntax_error()) }
    }

    pub(crate) fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// Whether the next words are these; they stay unread.
    pub(crate) fn sees(&self, words: &[&str]) -> bool {
        words.len() <= self.tokens.len()
            && words
                .iter()
                .zip(self.tokens)
                .all(|(word, token)| matches!(&token.kind, Kind::Word(w) if w == word))
    }

    /// Whether the word stands anywhere in what is left, outside of quotes.
    pub(crate) fn holds(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| matches!(&token.kind, Kind::Word(w) if w == word))
    }

    /// Reads these words if they come next.
    pub(crate) fn eat(&mut self, words: &[&str]) -> bool {
        let seen = self.sees(words);
        if seen {
            self.tokens = &self.tokens[words.len()..];
        }
        seen
    }

    pub(crate) fn expect(&mut self, words: &[&str]) -> Result<(), SqlError> {
        if self.eat(words) { Ok(()) } else { Err(self.syntax_error()) }
    }

    pub(crate) fn sees_symbol(&self, symbol: &str) -> bool {
        matches!(self.tokens.first(), Some(Token { kind: Kind::Symbol(s), .. }) if *s == symbol)
    }

    pub(crate) fn eat_symbol(&mut self, symbol: &str) -> bool {
        let seen = self.sees_symbol(symbol);
        if seen {
            self.tokens = &self.tokens[1..];
        }
        seen
    }

    pub(crate) fn expect_symbol(&mut self, symbol: &str) -> Result<(), SqlError> {
        if self.eat_symbol(symbol) { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// An unquoted word, keyword or not.
    pub(crate) fn word(&mut self) -> Result<&'a str, SqlError> {
        match self.tokens.split_first() {
            Some((Token { kind: Kind::Word(word), .. }, rest)) => {
                self.tokens = rest;
                Ok(word)
            }
            _ => Err(self.syntax_error()),
        }
    }

    /// An identifier: quoted, or a word that is not reserved.
    pub(crate) fn identifier(&mut self) -> Result<String, SqlError> {
        match self.tokens.split_first() {
            Some((Token { kind: Kind::Word(name), .. }, rest)) if !is_reserved(name) => {
                self.tokens = rest;
                Ok(name.clone())
            }
            Some((Token { kind: Kind::Quoted(name), .. }, rest)) => {
                self.tokens = rest;
                Ok(name.clone())
            }
            _ => Err(self.syntax_error()),
        }
    }

    /// The name of a column to be made.
    pub(crate) fn new_column(&mut self) -> Result<String, SqlError> {
        let name = self.identifier()?;
        if is_system_column(&name) {
            return Err(SqlError::Refused(format!(
                "column name \"{name}\" conflicts with a system column name"
            )));
        }
        Ok(name)
    }

    /// `[schema.]table`
    pub(crate) fn table(&mut self) -> Result<TableName, SqlError> {
        let first = self.identifier()?;
        if !self.eat_symbol(".") {
            return TableName::new(None, first);
        }
        TableName::new(Some(first), self.identifier()?)
    }

    /// `(a, b, …)`
    pub(crate) fn column_list(&mut self) -> Result<Vec<String>, SqlError> {
        self.expect_symbol("(")?;
        let mut columns = vec![self.identifier()?];
        while self.eat_symbol(",") {
            columns.push(self.identifier()?);
        }
        self.expect_symbol(")")?;
        Ok(columns)
    }

    pub(crate) fn string(&mut self) -> Result<&'a str, SqlError> {
        match self.tokens.split_first() {
            Some((Token { kind: Kind::Text(value), .. }, rest)) => {
                self.tokens = rest;
                Ok(value)
            }
            _ => Err(self.syntax_error()),
        }
    }

    pub(crate) fn integer(&mut self) -> Result<u64, SqlError> {
        let number = match self.tokens.first() {
            Some(Token { kind: Kind::Number(text), .. }) => text.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.syntax_error())?;
        self.tokens = &self.tokens[1..];
        Ok(number)
    }

    /// Tokens up to one that `ends` says yes to, outside of parentheses; at least one.
    pub(crate) fn take_until(&mut self, ends: impl Fn(&Token) -> bool) -> Result<&'a [Token], SqlError> {
        let mut depth = 0_usize;
        let mut length = 0;
        for token in self.tokens {
            match token.kind {
                _ if depth == 0 && ends(token) => break,
                Kind::Symbol("(") => depth += 1,
                Kind::Symbol(")") if depth == 0 => break,
                Kind::Symbol(")") => depth -= 1,
                _ => {}
            }
            length += 1;
        }
        if length == 0 {
            return Err(self.syntax_error());
        }
        let (taken, rest) = self.tokens.split_at(length);
        self.tokens = rest;
        Ok(taken)
    }
}
