//! Redshift's tokens. A backslash inside `'…'` is an escape, quoted identifiers are folded to lower case, comments are
//! blanks: after this, text means the same to PostgreSQL. `COPY`'s option strings are taken verbatim instead.

use super::SqlError;

/// PostgreSQL's limit, below Redshift's 127.
const MAX_IDENTIFIER_BYTES: usize = 63;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An unquoted keyword or identifier, in lower case.
    Word(String),
    /// A quoted identifier, folded, without its quotes.
    Quoted(String),
    /// A string literal's value.
    Text(String),
    /// A number as written.
    Number(String),
    /// `:name`, to be replaced by a parameter's value.
    Parameter(String),
    /// An operator or a punctuation mark; only `::` is longer than one character.
    Symbol(&'static str),
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Whether blanks or comments stood before it.
    pub(crate) spaced: bool,
}

impl Token {
    /// The token as error messages name it.
    pub(crate) fn shown(&self) -> String {
        match &self.kind {
            Kind::Word(text) | Kind::Quoted(text) | Kind::Number(text) => text.clone(),
            Kind::Text(text) => format!("'{text}'"),
            Kind::Parameter(name) => format!(":{name}"),
            Kind::Symbol(symbol) => (*symbol).to_owned(),
        }
    }
}

/// How `'…'` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strings {
    /// Backslash escapes.
    Escaped,
    /// The same in `COPY`, whose options may name the byte 0.
    EscapedOptions,
    /// Only `''` means something: the option strings of `COPY`.
    Verbatim,
}

/// How the option strings of `COPY` are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyStrings {
    Verbatim,
    Escaped,
}

/// Splits a statement into tokens; one semicolon at its end is dropped.
pub(crate) fn tokens(sql: &str) -> Result<Vec<Token>, SqlError> {
    tokens_with(sql, CopyStrings::Verbatim)
}

/// The same, with a choice for `COPY`.
pub(crate) fn tokens_with(sql: &str, options: CopyStrings) -> Result<Vec<Token>, SqlError> {
    let first_word: String =
        sql.trim_start().chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
    let strings = match options {
        _ if first_word != "copy" => Strings::Escaped,
        CopyStrings::Verbatim => Strings::Verbatim,
        CopyStrings::Escaped => Strings::EscapedOptions,
    };
    let mut lexer = Lexer { rest: sql, strings };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    while tokens.last().is_some_and(|token| token.kind == Kind::Symbol(";")) {
        tokens.pop();
    }
    Ok(tokens)
}

/// The statements of a text, which semicolons part.
pub(crate) fn split(sql: &str) -> Result<Vec<&str>, SqlError> {
    let mut lexer = Lexer { rest: sql, strings: Strings::Escaped };
    let mut statements = Vec::new();
    let mut start = 0;
    let mut first = None;
    loop {
        let token = lexer.next()?;
        let end = sql.len() - lexer.rest.len();
        match token {
            Some(Token { kind: Kind::Symbol(";"), .. }) | None => {
                if first.take().is_some() {
                    statements.push(sql[start..end].trim());
                }
                start = end;
                lexer.strings = Strings::Escaped;
                if token.is_none() {
                    return Ok(statements);
                }
            }
            Some(token) => {
                if first.is_none() && token.kind == Kind::Word("copy".to_owned()) {
                    lexer.strings = Strings::Verbatim;
                }
                first.get_or_insert(token);
            }
        }
    }
}

/// The words at a statement's beginning, for messages; names without their quotes.
pub(crate) fn words(sql: &str) -> Vec<String> {
    let mut lexer = Lexer { rest: sql, strings: Strings::Escaped };
    let mut words = Vec::new();
    while let Ok(Some(Token { kind: Kind::Word(word) | Kind::Quoted(word), .. })) = lexer.next() {
        words.push(word);
    }
    words
}

/// Text that sqlparser's Redshift dialect reads back into the same tokens.
pub(crate) fn render(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        if token.spaced && !text.is_empty() {
            text.push(' ');
        }
        match &token.kind {
            // A temporary table's name, which sqlparser does not know unquoted.
            Kind::Word(word) if word.starts_with('#') => text.push_str(&quoted(word)),
            Kind::Word(word) | Kind::Number(word) => text.push_str(word),
            Kind::Quoted(name) => text.push_str(&quoted(name)),
            Kind::Text(value) => {
                text.push('\'');
                text.push_str(&value.replace('\\', "\\\\").replace('\'', "''"));
                text.push('\'');
            }
            Kind::Parameter(name) => {
                text.push(':');
                text.push_str(name);
            }
            Kind::Symbol(symbol) => text.push_str(symbol),
        }
    }
    text
}

/// A quoted identifier for PostgreSQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal for PostgreSQL with `standard_conforming_strings` on.
pub(crate) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

struct Lexer<'a> {
    rest: &'a str,
    strings: Strings,
}

const SYMBOLS: [&str; 30] = [
    "::", "(", ")", ",", ";", ".", "=", "<", ">", "+", "-", "*", "/", "%", "!", "|", "&", "^", "~", "@", "#",
    "[", "]", ":", "?", "{", "}", "$", "`", "\\",
];

impl Lexer<'_> {
    fn next(&mut self) -> Result<Option<Token>, SqlError> {
        let before = self.rest.len();
        self.skip_blanks()?;
        let spaced = self.rest.len() < before;
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let kind = match first {
            '\'' => Kind::Text(self.string()?),
            '"' => Kind::Quoted(identifier(self.quoted_identifier()?)?),
            c if c.is_ascii_digit() => Kind::Number(self.number()),
            '.' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => Kind::Number(self.number()),
            c if is_word_start(c) => {
                let word = self.take_while(|c| is_word_start(c) || c.is_ascii_digit() || c == '$');
                if self.rest.starts_with('\'') {
                    return Err(SqlError::Unsupported(format!("the string prefix {word}")));
                }
                Kind::Word(identifier(word)?)
            }
            ':' if !self.rest.starts_with("::") && self.rest[1..].starts_with(is_parameter_part) => {
                self.rest = &self.rest[1..];
                Kind::Parameter(self.take_while(is_parameter_part))
            }
            _ => self.symbol(first)?,
        };
        Ok(Some(Token { kind, spaced }))
    }

    fn skip_blanks(&mut self) -> Result<(), SqlError> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("--") {
                self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
            } else if self.rest.starts_with("/*") {
                self.rest = after_block_comment(self.rest)?;
            } else {
                return Ok(());
            }
        }
    }

    fn take_while(&mut self, accepts: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !accepts(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_owned()
    }

    fn number(&mut self) -> String {
        let mut text = self.take_while(|c| c.is_ascii_digit() || c == '.');
        let exponent = self.rest.strip_prefix(['e', 'E']).map(|rest| rest.trim_start_matches(['+', '-']));
        if exponent.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            text.push_str(&self.rest[..1]);
            self.rest = &self.rest[1..];
            text.push_str(&self.take_while(|c| c == '+' || c == '-'));
            text.push_str(&self.take_while(|c| c.is_ascii_digit()));
        }
        text
    }

    fn symbol(&mut self, first: char) -> Result<Kind, SqlError> {
        let symbol = SYMBOLS
            .into_iter()
            .find(|symbol| self.rest.starts_with(symbol))
            .ok_or_else(|| SqlError::Syntax(first.to_string()))?;
        self.rest = &self.rest[symbol.len()..];
        Ok(Kind::Symbol(symbol))
    }

    fn quoted_identifier(&mut self) -> Result<String, SqlError> {
        let mut name = String::new();
        let mut chars = self.rest[1..].char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if chars.next_if(|&(_, next)| next == '"').is_some() => name.push('"'),
                '"' => {
                    self.rest = &self.rest[at + 2..];
                    return Ok(name);
                }
                c => name.push(c),
            }
        }
        Err(SqlError::Refused("unterminated quoted identifier".to_owned()))
    }

    fn string(&mut self) -> Result<String, SqlError> {
        let mut value = String::new();
        let mut chars = self.rest[1..].char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\'' if chars.next_if(|&(_, next)| next == '\'').is_some() => value.push('\''),
                '\'' => {
                    self.rest = &self.rest[at + 2..];
                    return Ok(value);
                }
                '\\' if self.strings != Strings::Verbatim => {
                    let Some((_, escaped)) = chars.next() else { break };
                    let mut octal = escaped.to_digit(8);
                    while let Some(code) = octal.filter(|code| *code < 32) {
                        let Some((_, digit)) = chars.next_if(|(_, next)| next.is_digit(8)) else { break };
                        octal = digit.to_digit(8).map(|digit| code * 8 + digit);
                    }
                    value.push(match (octal, escaped) {
                        (Some(0), _) if self.strings == Strings::EscapedOptions => '\0',
                        (Some(code @ 1..128), _) => char::from_u32(code).unwrap_or(escaped),
                        (Some(_), _) => return Err(SqlError::Refused("invalid byte in a string".to_owned())),
                        (None, 'b') => '\u{8}',
                        (None, 'f') => '\u{c}',
                        (None, 'n') => '\n',
                        (None, 'r') => '\r',
                        (None, 't') => '\t',
                        (None, other) => other,
                    });
                }
                '\0' => return Err(SqlError::Refused("invalid byte in a string".to_owned())),
                c => value.push(c),
            }
        }
        Err(SqlError::Refused("unterminated quoted string".to_owned()))
    }
}

/// Comments nest, as in PostgreSQL.
fn after_block_comment(text: &str) -> Result<&str, SqlError> {
    let mut depth = 0_usize;
    let mut rest = text;
    loop {
        if let Some(inner) = rest.strip_prefix("/*") {
            depth += 1;
            rest = inner;
        } else if let Some(outer) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = outer;
            if depth == 0 {
                return Ok(rest);
            }
        } else {
            let mut chars = rest.chars();
            if chars.next().is_none() {
                return Err(SqlError::Refused("unterminated /* comment".to_owned()));
            }
            rest = chars.as_str();
        }
    }
}

/// `#` begins a temporary table's name.
fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == '#' || !c.is_ascii()
}

fn is_parameter_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn identifier(name: String) -> Result<String, SqlError> {
    let mut name = name;
    name.make_ascii_lowercase();
    if name.is_empty() {
        return Err(SqlError::Refused("zero-length delimited identifier at or near \"\"\"\"".to_owned()));
    }
    if name.len() > MAX_IDENTIFIER_BYTES {
        return Err(SqlError::Unsupported(format!("an identifier above {MAX_IDENTIFIER_BYTES} bytes")));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(sql: &str) -> String {
        render(&tokens(sql).unwrap())
    }

    fn string(sql: &str) -> String {
        match tokens(&format!("select {sql}")).unwrap().remove(1).kind {
            Kind::Text(value) => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn identifiers_fold_even_in_quotes() {
        assert_eq!(rendered(r#"SELECT "Größe", T."a""B" FROM T;"#), r#"select "größe", t."a""b" from t"#);
    }

    #[test]
    fn a_backslash_is_an_escape() {
        assert_eq!(string(r"'it\'s'"), "it's");
        assert_eq!(string(r"'a\\b'"), r"a\b");
        assert_eq!(string(r"'\t\101\q'"), "\tAq");
        assert_eq!(string(r"'a''b'"), "a'b");
        assert!(tokens(r"select 'a\'").is_err(), "the quote is escaped");
        assert!(tokens(r"select '\0'").is_err());
    }

    #[test]
    fn copy_takes_strings_verbatim() {
        let tokens = tokens(r"COPY t FROM 's3://b/k' NULL AS '\0'").unwrap();
        assert_eq!(tokens.last().map(|token| &token.kind), Some(&Kind::Text(r"\0".to_owned())));
    }

    #[test]
    fn copy_may_take_escapes_too() {
        let tokens = tokens_with(r"COPY t FROM 's3://b/k' NULL AS '\0'", CopyStrings::Escaped).unwrap();
        assert_eq!(tokens.last().map(|token| &token.kind), Some(&Kind::Text("\0".to_owned())));
    }

    #[test]
    fn semicolons_part_statements_unless_they_are_quoted() {
        let text = "select ';', \"a;b\" -- ;\n; ; copy t from 's3://b/k' null as '\\'; select '\\';'";
        assert_eq!(
            split(text).unwrap(),
            ["select ';', \"a;b\" -- ;\n;", "copy t from 's3://b/k' null as '\\';", "select '\\';'"]
        );
        assert_eq!(split(" ; -- nothing\n").unwrap(), Vec::<&str>::new());
        assert!(split("select 'a").is_err());
        assert_eq!(words("CREATE /* x */ TABLE \"T\" (a INT)"), ["create", "table", "t"]);
    }

    #[test]
    fn comments_are_blanks_and_operators_stay_together() {
        assert_eq!(
            rendered("select a/* x /* y */ */<=b -- end\n, 1.5e-3::real"),
            "select a <=b , 1.5e-3::real"
        );
        assert!(tokens("select /* open").is_err());
    }

    #[test]
    fn parameters_are_not_casts() {
        let kinds: Vec<_> =
            tokens("select :id::smallint, '12:30'").unwrap().into_iter().map(|t| t.kind).collect();
        assert_eq!(kinds[1], Kind::Parameter("id".to_owned()));
        assert_eq!(kinds[2], Kind::Symbol("::"));
        assert_eq!(kinds[5], Kind::Text("12:30".to_owned()));
    }

    #[test]
    fn string_prefixes_and_long_names_are_unknown_here() {
        assert!(matches!(tokens("select E'a'"), Err(SqlError::Unsupported(_))));
        assert!(matches!(tokens(&format!("select {}", "x".repeat(64))), Err(SqlError::Unsupported(_))));
    }
}
