//! Names: reserved words, system columns, and which schemas a client may see.

use std::fmt;

use super::SqlError;
use super::lexer::quoted;

/// What the stand-in keeps for itself in the database; clients can't see it.
pub(crate) const OWN_SCHEMA_PREFIX: &str = "re_dms_standin";

/// A table's name as a statement gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl TableName {
    /// Refuses the stand-in's own schemas as if they were not there.
    pub(crate) fn new(schema: Option<String>, name: String) -> Result<Self, SqlError> {
        if let Some(schema) = schema.as_deref().filter(|schema| schema.starts_with(OWN_SCHEMA_PREFIX)) {
            return Err(SqlError::Refused(format!("schema \"{schema}\" does not exist")));
        }
        Ok(Self { schema, name })
    }
}

/// Quoted, for PostgreSQL.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quoted(schema))?;
        }
        f.write_str(&quoted(&self.name))
    }
}

/// Whether an unquoted word can't be an identifier in Redshift.
pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// Whether no user column may have the name.
pub(crate) fn is_system_column(name: &str) -> bool {
    ["oid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"].contains(&name)
}

const RESERVED: &[&str] = &[
    "aes128",
    "aes256",
    "all",
    "allowoverwrite",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "authorization",
    "az64",
    "backup",
    "between",
    "binary",
    "blanksasnull",
    "both",
    "bytedict",
    "bzip2",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "credentials",
    "cross",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "current_user_id",
    "default",
    "deferrable",
    "deflate",
    "defrag",
    "delta",
    "delta32k",
    "desc",
    "disable",
    "distinct",
    "do",
    "else",
    "emptyasnull",
    "enable",
    "encode",
    "encrypt",
    "encryption",
    "end",
    "except",
    "explicit",
    "false",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "globaldict256",
    "globaldict64k",
    "grant",
    "group",
    "gzip",
    "having",
    "identity",
    "ignore",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "lun",
    "luns",
    "lzo",
    "lzop",
    "minus",
    "mostly16",
    "mostly32",
    "mostly8",
    "natural",
    "new",
    "not",
    "notnull",
    "null",
    "nulls",
    "off",
    "offline",
    "offset",
    "oid",
    "old",
    "on",
    "only",
    "open",
    "or",
    "order",
    "outer",
    "overlaps",
    "parallel",
    "partition",
    "percent",
    "permissions",
    "pivot",
    "placing",
    "primary",
    "raw",
    "readratio",
    "recover",
    "references",
    "rejectlog",
    "resort",
    "respect",
    "restore",
    "right",
    "select",
    "session_user",
    "similar",
    "snapshot",
    "some",
    "sysdate",
    "system",
    "table",
    "tag",
    "tdes",
    "text255",
    "text32k",
    "then",
    "timestamp",
    "to",
    "top",
    "trailing",
    "true",
    "truncatecolumns",
    "union",
    "unique",
    "unnest",
    "unpivot",
    "user",
    "using",
    "verbose",
    "wallet",
    "when",
    "where",
    "with",
    "without",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redshift_reserves_words_that_postgresql_does_not() {
        assert_eq!(RESERVED.len(), 156);
        for word in ["tag", "system", "open", "oid", "percent", "timestamp"] {
            assert!(is_reserved(word), "{word}");
        }
        assert!(!is_reserved("name"));
    }

    #[test]
    fn own_schemas_do_not_exist_for_clients() {
        assert!(TableName::new(Some("re_dms_standin_data".into()), "load_error".into()).is_err());
        assert_eq!(
            TableName::new(Some("re_dms".into()), "a\"b".into()).unwrap().to_string(),
            "\"re_dms\".\"a\"\"b\""
        );
    }
}
