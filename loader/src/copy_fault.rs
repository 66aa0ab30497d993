//! Why COPY refused a row, from `sys_load_error_detail`: place and reason, never the value.

use std::fmt;

use crate::statements::Cell;

/// Where COPY stopped, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFault {
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: i64,
    /// The staging table's column, with its type.
    pub column: Option<String>,
    /// Redshift's load error code.
    pub code: i64,
}

impl CopyFault {
    /// From a row of [`re_dms_plan::queries::load_error`].
    #[must_use]
    pub fn from_row(row: &[Cell]) -> Option<Self> {
        let [file, line, column, ty, code] = row else { return None };
        let column = column.text().filter(|name| !name.is_empty());
        let column = column.map(|name| format!("{name} ({})", ty.text().unwrap_or_default()));
        Some(Self { file: file.text()?.to_owned(), line: line.number()?, column, code: code.number()? })
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self.code {
            1204 => "the value is too long for its column or out of its range: look at the line in the file",
            1212 | 8001 => {
                "a file is missing or can't be read: check the bucket's lifecycle rules and the COPY role"
            }
            1218 | 1224 if self.is_super() => {
                "look at the line in the file: if the field is NULL there (one NUL byte, or nothing), this Redshift reads it \
                 otherwise: set types.super_null in the capture's config, and have the table read anew"
            }
            1220 | 1221 => "the text is no UTF-8: check the source database's encoding (SQL_ASCII?)",
            _ => {
                "look at the line in the file; a table can be left out with `exclude` in the capture's config"
            }
        }
        .to_owned()
    }

    fn is_super(&self) -> bool {
        self.column.as_ref().is_some_and(|column| column.to_ascii_lowercase().contains("(super"))
    }

    /// The code in words (`redshift.md`, 1.8).
    fn reason(&self) -> &'static str {
        match self.code {
            1201 | 1214 => "delimiter not found",
            1202 => "more fields than columns",
            1203 => "fewer fields than columns",
            1204 => "value too long or out of range",
            1205 => "not a date",
            1206 => "not a timestamp",
            1207 => "a digit was expected",
            1208 => "not a floating-point number",
            1209 => "not a decimal number",
            1210 => "not a boolean",
            1211 => "no data on the line",
            1212 => "file not found",
            1213 => "no value for a NOT NULL column",
            1216 => "line too long or malformed",
            1218 => "a NUL byte beside others",
            1219..=1221 => "not valid UTF-8",
            1222 => "integer out of range",
            1224 => "malformed JSON",
            8001 => "the COPY manifest is not usable",
            _ => "refused",
        }
    }
}

impl fmt::Display for CopyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {}) in {}, line {}", self.reason(), self.code, self.file, self.line)?;
        self.column.as_ref().map_or(Ok(()), |column| write!(f, ", column {column}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_in_super_may_have_to_be_written_otherwise() {
        let fault =
            |column: &str, code| CopyFault { file: "f".into(), line: 1, column: Some(column.into()), code };
        assert!(fault("doc (super     )", 1224).hint().contains("types.super_null"));
        assert!(fault("doc (super     )", 1218).hint().contains("types.super_null"));
        assert!(!fault("note (varchar   )", 1218).hint().contains("types.super_null"));
    }

    #[test]
    fn a_fault_says_where_and_why() {
        let text = |text: &str| Cell::Text(text.into());
        let row = [
            text("s3://b/f.csv.gz   "),
            Cell::Number(7),
            text("id "),
            text("int4      "),
            Cell::Number(1207),
        ];
        let fault = CopyFault::from_row(&row).unwrap();
        assert_eq!(
            fault.to_string(),
            "a digit was expected (error 1207) in s3://b/f.csv.gz, line 7, column id (int4)"
        );
        let unplaced =
            CopyFault::from_row(&[text("f"), Cell::Number(1), Cell::Null, Cell::Null, text("1216")]);
        assert_eq!(unplaced.unwrap().to_string(), "line too long or malformed (error 1216) in f, line 1");
    }
}
