//! The CSV that `COPY` reads (`redshift.md`, 1.2): fed in pieces, records come out; memory holds one record.

use super::load_error::{Code, FieldError};

/// One field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether it stood in quotes.
    pub(super) quoted: bool,
}

/// One record: fields back to back in one buffer.
#[derive(Debug, Default)]
pub(super) struct Record {
    bytes: Vec<u8>,
    /// Where each finished field ends.
    ends: Vec<usize>,
    /// Whether each finished field was quoted.
    quoted: Vec<bool>,
    /// The line that it begins on, from 1.
    pub(super) line: u64,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let fields = starts.zip(&self.ends).zip(&self.quoted);
        fields.map(|((start, &end), &quoted)| Field { bytes: &self.bytes[start..end], quoted })
    }

    /// The whole record, for the error tables.
    pub(super) fn raw(&self) -> &[u8] {
        &self.bytes
    }

    fn clear(&mut self, line: u64) {
        self.bytes.clear();
        self.ends.clear();
        self.quoted.clear();
        self.line = line;
    }

    fn start_of_field(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but blanks so far.
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote inside a quoted field: its end, or the first of a doubled one.
    Quote,
    /// Blanks after a quoted field.
    AfterQuoted,
}

/// A parser that is fed.
#[derive(Debug)]
pub(super) struct CsvParser {
    delimiter: u8,
    quote: u8,
    max_row_bytes: usize,
    state: State,
    record: Record,
    /// Lines ended so far.
    lines: u64,
    /// Whether anything was read since the last record's end.
    begun: bool,
}

impl CsvParser {
    pub(super) fn new(delimiter: u8, quote: u8, max_row_bytes: usize) -> Self {
        let record = Record { line: 1, ..Record::default() };
        Self { delimiter, quote, max_row_bytes, state: State::FieldStart, record, lines: 0, begun: false }
    }

    /// Takes a piece of the file and hands over every record that ends in it.
    pub(super) fn feed<E: From<FieldError>>(
        &mut self,
        bytes: &[u8],
        mut on_record: impl FnMut(&Record) -> Result<(), E>,
    ) -> Result<(), E> {
        for &byte in bytes {
            if self.byte(byte)? {
                on_record(&self.record)?;
                self.record.clear(self.lines + 1);
            }
        }
        Ok(())
    }

    /// The file is over: its last record may lack a line end.
    pub(super) fn finish<E: From<FieldError>>(
        &mut self,
        mut on_record: impl FnMut(&Record) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.begun {
            return Ok(());
        }
        if self.state == State::Quoted {
            return Err(self.error(Code::DelimiterNotFound, "Invalid quote formatting for CSV").into());
        }
        self.end_field();
        on_record(&self.record)
    }

    /// The line that is being read, from 1.
    pub(super) fn line(&self) -> u64 {
        self.record.line
    }

    /// Takes one byte; true if it ended a record.
    fn byte(&mut self, byte: u8) -> Result<bool, FieldError> {
        if self.record.bytes.len() >= self.max_row_bytes {
            let reason = format!("Input row is larger than the maximum of {} MB", self.max_row_bytes >> 20);
            return Err(self.error(Code::InvalidInputLine, &reason));
        }
        self.begun = true;
        if byte == b'\n' {
            self.lines += 1;
        }
        match (self.state, byte) {
            (State::Quoted, b) if b == self.quote => self.state = State::Quote,
            (State::Quoted, b) => self.record.bytes.push(b),
            (State::Quote, b) if b == self.quote => {
                self.record.bytes.push(b);
                self.state = State::Quoted;
            }
            (State::FieldStart, b) if b == self.quote => {
                // Blanks before the quote don't count.
                let start = self.record.start_of_field();
                self.record.bytes.truncate(start);
                self.state = State::Quoted;
            }
            (_, b'\n') => {
                self.end_field();
                self.begun = false;
                return Ok(true);
            }
            (_, b) if b == self.delimiter => self.end_field(),
            (State::FieldStart, b) => {
                self.record.bytes.push(b);
                if b != b' ' && b != b'\t' {
                    self.state = State::Unquoted;
                }
            }
            (State::Unquoted, b) => self.record.bytes.push(b),
            (State::Quote | State::AfterQuoted, b' ' | b'\t' | b'\r') => self.state = State::AfterQuoted,
            (State::Quote | State::AfterQuoted, _) => {
                return Err(self.error(Code::DelimiterNotFound, "Invalid quote formatting for CSV"));
            }
        }
        Ok(false)
    }

    fn end_field(&mut self) {
        let start = self.record.start_of_field();
        let ends_line = self.state != State::Quote && self.state != State::AfterQuoted;
        // A carriage return before the line feed belongs to the line's end.
        if ends_line && self.record.bytes.len() > start && self.record.bytes.last() == Some(&b'\r') {
            self.record.bytes.pop();
        }
        self.record.ends.push(self.record.bytes.len());
        self.record.quoted.push(!ends_line);
        self.state = State::FieldStart;
    }

    fn error(&self, code: Code, reason: &str) -> FieldError {
        FieldError {
            code,
            reason: reason.to_owned(),
            column: None,
            position: self.record.bytes.len(),
            raw: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_ROW_BYTES: usize = 4 << 20;

    fn records(text: &[u8], piece: usize) -> Result<Vec<Vec<String>>, FieldError> {
        let mut records = Vec::new();
        let mut parser = CsvParser::new(b',', b'"', MAX_ROW_BYTES);
        let mut collect = |record: &Record| {
            records.push(
                record.fields().map(|field| String::from_utf8_lossy(field.bytes).into_owned()).collect(),
            );
            Ok::<(), FieldError>(())
        };
        for piece in text.chunks(piece) {
            parser.feed(piece, &mut collect)?;
        }
        parser.finish(&mut collect)?;
        Ok(records)
    }

    #[test]
    fn quotes_hide_delimiters_line_ends_and_quotes() {
        let text = b"a,\"b,\"\"c\"\"\nd\",\n\"\", e ,\0\r\nlast,\"\r\",x";
        let expected = vec![
            vec!["a".to_owned(), "b,\"c\"\nd".to_owned(), String::new()],
            vec![String::new(), " e ".to_owned(), "\0".to_owned()],
            vec!["last".to_owned(), "\r".to_owned(), "x".to_owned()],
        ];
        for piece in 1..text.len() {
            assert_eq!(records(text, piece).as_ref(), Ok(&expected), "in pieces of {piece}");
        }
    }

    #[test]
    fn blanks_around_quotes_are_skipped() {
        assert_eq!(records(b"  \" a \"  , b\n", 9), Ok(vec![vec![" a ".to_owned(), " b".to_owned()]]));
    }

    #[test]
    fn a_stray_quote_is_an_error() {
        assert!(records(b"\"a\"b,c\n", 9).is_err());
        assert!(records(b"\"a,c\n", 9).is_err());
        assert_eq!(records(b"a\"b\n", 9), Ok(vec![vec!["a\"b".to_owned()]]), "only a field's first counts");
    }

    #[test]
    fn rows_above_four_megabytes_are_refused() {
        let error = records(&vec![b'x'; MAX_ROW_BYTES + 1], 1 << 20).unwrap_err();
        assert_eq!(error.code, Code::InvalidInputLine);
    }

    #[test]
    fn whatever_is_written_by_the_rules_comes_back() {
        proptest::proptest!(|(rows in proptest::collection::vec(
            proptest::collection::vec("[ab \",\r\n\u{0}é]{0,6}", 1..4), 0..5), piece in 1_usize..9)| {
            let quoted = |field: &String| {
                let quote = field.contains([',', '"', '\r', '\n']) || field.starts_with(' ') || field.ends_with(' ');
                if quote { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.clone() }
            };
            let line = |row: &Vec<String>| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
            let text: String = rows.iter().map(line).collect();
            proptest::prop_assert_eq!(records(text.as_bytes(), piece), Ok(rows));
        });
    }
}
