//! The extended protocol's statements: text with `$1`, the types of the parameters, and how a value gets into the text's
//! tokens, where it can be nothing but a value.

use std::io;

use super::frames::Reader;
use super::values::{Form, form, parameter};
use crate::redshift::catalog::Failure;
use crate::redshift::sql::{self, Command, CopyStrings, Kind, Token};

/// A prepared statement.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) sql: String,
    /// Types of the parameters, 0 for one that is left to the server.
    pub(super) types: Vec<u32>,
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub(super) struct Portal {
    pub(super) prepared: Prepared,
    values: Vec<Option<String>>,
    /// None: all text; one: for all; else one a column.
    formats: Vec<i16>,
}

impl Prepared {
    /// `Parse`: its name and itself.
    pub(super) fn read(message: &mut Reader) -> io::Result<(String, Self)> {
        let (name, sql) = (message.text()?, message.text()?);
        let count = message.short()?;
        let types = (0..count).map(|_| Ok(message.int()?.cast_unsigned())).collect::<io::Result<_>>()?;
        Ok((name, Self { sql, types }))
    }

    /// Finds parameters whose types were not told: they are left to the server.
    pub(super) fn complete(&mut self, strings: CopyStrings) -> Result<(), Failure> {
        let tokens = sql::tokens_with(&self.sql, strings)?;
        let most = tokens.windows(2).filter_map(number).max().unwrap_or(0);
        if most > self.types.len() {
            self.types.resize(most, 0);
        }
        Ok(())
    }

    /// Translates it with NULL for every parameter, which is enough to know its result's columns.
    pub(super) fn outline(&self, strings: CopyStrings, tag: &str) -> Result<Command, Failure> {
        self.command(&vec![None; self.types.len()], strings, tag)
    }

    fn command(
        &self,
        values: &[Option<String>],
        strings: CopyStrings,
        tag: &str,
    ) -> Result<Command, Failure> {
        let tokens = sql::tokens_with(&self.sql, strings)?;
        let mut bound: Vec<Token> = Vec::with_capacity(tokens.len());
        let mut rest = tokens.into_iter().peekable();
        while let Some(token) = rest.next() {
            let pair = rest.peek().map(|next| [token.clone(), next.clone()]);
            let Some(position) = pair.as_ref().and_then(|pair| number(pair)) else {
                bound.push(token);
                continue;
            };
            rest.next();
            let value = position.checked_sub(1).and_then(|position| values.get(position));
            let value = value.ok_or_else(|| format!("there is no parameter ${position}"))?;
            let oid = self.types.get(position - 1).copied().unwrap_or(0);
            let form = form(oid)
                .ok_or_else(|| format!("a parameter of the type {oid} is not supported by the stand-in"))?;
            put(value.as_deref(), form, &mut bound);
        }
        Ok(sql::parse(&bound, tag)?)
    }
}

/// The position of `$1`, from 1.
fn number(pair: &[Token]) -> Option<usize> {
    match pair {
        [Token { kind: Kind::Symbol("$"), .. }, Token { kind: Kind::Number(digits), spaced: false }] => {
            digits.parse().ok()
        }
        _ => None,
    }
}

/// A value's tokens.
fn put(value: Option<&str>, form: Form, tokens: &mut Vec<Token>) {
    let mut push = |kind: Kind| tokens.push(Token { kind, spaced: true });
    let literal = |value: Option<&str>| match value {
        Some(value) => Kind::Text(value.to_owned()),
        None => Kind::Word("null".to_owned()),
    };
    match (form, value) {
        (Form::Cast(words), _) => {
            push(Kind::Word("cast".to_owned()));
            push(Kind::Symbol("("));
            push(literal(value));
            push(Kind::Word("as".to_owned()));
            words.iter().for_each(|word| push(Kind::Word((*word).to_owned())));
            push(Kind::Symbol(")"));
        }
        (Form::Number, Some(number)) if is_number(number) => {
            push(Kind::Symbol("("));
            if let Some(positive) = number.strip_prefix('-') {
                push(Kind::Symbol("-"));
                push(Kind::Number(positive.to_owned()));
            } else {
                push(Kind::Number(number.to_owned()));
            }
            push(Kind::Symbol(")"));
        }
        _ => push(literal(value)),
    }
}

/// Digits with a point and a sign at most: anything else stays a string, which the server refuses as a number.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.bytes().filter(|byte| *byte == b'.').count() < 2
}

impl Portal {
    /// What `Bind` says after the names.
    pub(super) fn read(message: &mut Reader, prepared: Prepared) -> io::Result<Result<Self, Failure>> {
        let mut shorts = |count: i16| (0..count).map(|_| message.short()).collect::<io::Result<Vec<i16>>>();
        let count = shorts(1)?[0];
        let codes = shorts(count)?;
        let count = message.short()?;
        let mut values = Vec::new();
        let mut refused = None;
        for position in 0..usize::try_from(count).unwrap_or(0) {
            let binary = codes.get(position).or(codes.first().filter(|_| codes.len() == 1)) == Some(&1);
            let oid = prepared.types.get(position).copied().unwrap_or(0);
            let value = match message.bytes()? {
                None => None,
                Some(bytes) => {
                    let text = parameter(&bytes, oid, binary);
                    if text.is_none() {
                        refused = Some(format!("the value of ${} has no form that is known", position + 1));
                    }
                    text
                }
            };
            values.push(value);
        }
        let count = message.short()?;
        let formats = (0..count).map(|_| message.short()).collect::<io::Result<Vec<i16>>>()?;
        if values.len() != prepared.types.len() {
            refused = Some(format!("{} values for {} parameters", values.len(), prepared.types.len()));
        }
        Ok(match refused {
            Some(message) => Err(Failure { code: "08P01".to_owned(), message }),
            None => Ok(Self { prepared, values, formats }),
        })
    }

    /// Whether a column is wanted in binary.
    pub(super) fn is_binary(&self, column: usize) -> bool {
        match self.formats.as_slice() {
            [] => false,
            [one] => *one == 1,
            each => each.get(column) == Some(&1),
        }
    }

    pub(super) fn command(&self, strings: CopyStrings, tag: &str) -> Result<Command, Failure> {
        self.prepared.command(&self.values, strings, tag)
    }
}
