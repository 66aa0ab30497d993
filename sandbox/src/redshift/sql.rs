//! Redshift's SQL, checked and translated: [`parse`] turns one statement's text into a [`Command`] in PostgreSQL's
//! words, or says why Redshift would refuse it. Pure: nothing here talks to a database, and nothing that is not known
//! here gets through.

mod alter_table;
mod command;
mod copy_statement;
mod create_table;
mod cursor;
mod datediff;
mod lexer;
mod names;
mod parameters;
mod query;
mod rewrite;
mod touched;
mod types;

#[cfg(test)]
mod tests;

pub(crate) use alter_table::{Forgotten, LayoutChange, Removal, Widening};
pub(crate) use command::{Command, parse};
pub(crate) use copy_statement::{CopyStatement, FileCompression, TimeFormat};
pub(crate) use lexer::{CopyStrings, Kind, Token, literal, quoted, split, tokens, tokens_with, words};
pub(crate) use names::TableName;
pub(crate) use parameters::bind;
pub(crate) use touched::{Touched, Write};
pub(crate) use types::ColumnType;

/// Why a statement is refused before it reaches the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SqlError {
    /// Not Redshift's grammar; holds the token where it was noticed.
    #[error("syntax error at or near \"{0}\"")]
    Syntax(String),
    /// Redshift refuses it, in these words.
    #[error("{0}")]
    Refused(String),
    /// Redshift may well take it: the stand-in does not know it.
    #[error("{0} is not supported by the stand-in")]
    Unsupported(String),
}
