//! Rows of an initial copy: from the text format of PostgreSQL's `COPY … TO STDOUT` straight to a file's rows.
//!
//! Form: PostgreSQL documentation, "COPY", "Text Format": columns between tabs, rows end in a newline, NULL is `\N`, what
//! would be mistaken for any of these is escaped by a backslash.

use re_dms_shared::manifest::Operation;

use super::compress::Codec;
use super::error::RenderError;
use super::renderer::{RenderedFile, Renderer, Row, Tail};
use super::split::LoadContext;
use crate::batch::TableShape;
use crate::config::SourceConfig;
use crate::hmac::Hmac;
use crate::pgoutput::Tuple;

/// Columns of which only a keyed hash is written.
#[derive(Clone)]
pub struct HashedColumns {
    hmac: Hmac,
    /// By position in the table's columns.
    hashed: Vec<bool>,
}

impl HashedColumns {
    /// `hashed` says so of each column.
    #[must_use]
    pub fn new(hmac: Hmac, hashed: Vec<bool>) -> Self {
        Self { hmac, hashed }
    }

    /// Those of a table, as the configuration has them; none if there are none.
    #[must_use]
    pub fn of(source: &SourceConfig, shape: &TableShape) -> Option<Self> {
        let table = shape.table();
        let is_hashed = |name: &str| source.columns.is_hashed(&table.schema, &table.name, name);
        let hashed: Vec<bool> = shape.columns().iter().map(|column| is_hashed(&column.name)).collect();
        let key = source.hash_key.as_ref().map(|key| key.reveal().as_bytes()).unwrap_or_default();
        hashed.contains(&true).then(|| Self::new(Hmac::new(key), hashed))
    }
}

/// Makes a file of whole rows.
///
/// # Errors
/// See [`RenderError`].
pub fn render_copied(
    lines: &[u8],
    context: &LoadContext,
    hashed: Option<&HashedColumns>,
    codec: Codec,
) -> Result<RenderedFile, RenderError> {
    let columns = context.shape().columns().len();
    let mut renderer = Renderer::new(context, 0);
    let mut text = Vec::with_capacity(lines.len() + lines.len() / 8);
    let mut tuple = Vec::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let not_copied = || RenderError::NotCopied { table: context.shape().source_name() };
        let end = memchr::memchr(b'\n', rest).ok_or_else(not_copied)?;
        decode(&rest[..end], columns, hashed, &mut tuple).ok_or_else(not_copied)?;
        let row = Row { operation: Operation::Insert, tuple: Tuple::from_checked(&tuple), tail: Tail::None };
        renderer.push_row(row, &mut text)?;
        rest = &rest[end + 1..];
    }
    renderer.finish(&text, codec)
}

/// The same rows as the stream would have them; each is there as a whole.
///
/// # Errors
/// If they are not of COPY's form.
pub fn copied_rows(
    lines: &[u8],
    shape: &TableShape,
    hashed: Option<&HashedColumns>,
) -> Result<Vec<Box<[u8]>>, RenderError> {
    let not_copied = || RenderError::NotCopied { table: shape.source_name() };
    let (mut rows, mut tuple, mut rest) = (Vec::new(), Vec::new(), lines);
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).ok_or_else(not_copied)?;
        decode(&rest[..end], shape.columns().len(), hashed, &mut tuple).ok_or_else(not_copied)?;
        rows.push(tuple.as_slice().into());
        rest = &rest[end + 1..];
    }
    Ok(rows)
}

/// Writes a row as a [`Tuple`]; none if it is not of COPY's form.
fn decode(line: &[u8], columns: usize, hashed: Option<&HashedColumns>, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    out.extend_from_slice(&u16::try_from(columns).ok()?.to_be_bytes());
    let mut rest = Some(line);
    for position in 0..columns {
        let line = rest?;
        let (field, after) = match memchr::memchr(b'\t', line) {
            Some(tab) => (&line[..tab], Some(&line[tab + 1..])),
            None => (line, None),
        };
        rest = after;
        if field == b"\\N" {
            out.push(b'n');
            continue;
        }
        out.push(b't');
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        unescape(field, out)?;
        if let Some(columns) = hashed.filter(|columns| columns.hashed[position]) {
            let hash = columns.hmac.hex(&out[length_at + 4..]);
            out.truncate(length_at + 4);
            out.extend_from_slice(hash.as_bytes());
        }
        let length = u32::try_from(out.len() - length_at - 4).ok()?;
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }
    rest.is_none().then_some(())
}

fn unescape(field: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = field;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..backslash]);
        out.push(match rest.get(backslash + 1)? {
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0B,
            b'\\' => b'\\',
            _ => return None,
        });
        rest = &rest[backslash + 2..];
    }
    out.extend_from_slice(rest);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::batch::SourceColumn;
    use crate::pgoutput::Cell;

    /// As PostgreSQL's `CopyAttributeOutText` writes it.
    fn encode(cells: &[Option<String>]) -> Vec<u8> {
        let field = |cell: &Option<String>| match cell {
            None => "\\N".to_owned(),
            Some(text) => {
                let escapes = [
                    ("\\", "\\\\"),
                    ("\x08", "\\b"),
                    ("\x0C", "\\f"),
                    ("\n", "\\n"),
                    ("\r", "\\r"),
                    ("\t", "\\t"),
                    ("\x0B", "\\v"),
                ];
                escapes.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to))
            }
        };
        cells.iter().map(field).collect::<Vec<_>>().join("\t").into_bytes()
    }

    proptest! {
        #[test]
        fn what_copy_writes_is_read_back(
            cells in prop::collection::vec(prop::option::of("[\\\\\t\n\r\x08\x0B\x0C,\"Nbfnrtv.äa ]{0,12}"), 1..6)
        ) {
            let mut out = Vec::new();
            decode(&encode(&cells), cells.len(), None, &mut out).unwrap();
            let (tuple, rest) = Tuple::parse(&out).unwrap();
            prop_assert!(rest.is_empty());
            let read: Vec<_> = tuple.cells().map(|cell| match cell {
                Cell::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
                _ => None,
            }).collect();
            prop_assert_eq!(read, cells);
        }
    }

    #[test]
    fn what_is_not_a_row_is_refused() {
        let mut out = Vec::new();
        for (line, columns) in [("a\tb", 1), ("a", 2), ("a\\", 1), ("a\\x41", 1), ("\\.", 1)] {
            assert_eq!(decode(line.as_bytes(), columns, None, &mut out), None, "{line:?}");
        }
        assert!(decode(b"", 1, None, &mut out).is_some(), "an empty text");
    }

    fn rendered(columns: &[&str], lines: &str, hashed: Option<&HashedColumns>) -> String {
        let column = |name: &&str| SourceColumn {
            name: (*name).to_owned(),
            attribute_number: None,
            type_oid: 25,
            type_modifier: -1,
            key: false,
        };
        let columns = columns.iter().map(column).collect();
        let shape = TableShape::new(7, ("public", "t"), ("public", "t"), columns).unwrap();
        let context = LoadContext::copy(Arc::new(shape));
        let file = render_copied(lines.as_bytes(), &context, hashed, Codec::Gzip(1)).unwrap();
        assert_eq!(file.summary.rows.inserts, lines.lines().count() as u64);
        let mut text = String::new();
        GzDecoder::new(&file.bytes[..]).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn files_have_the_columns_and_nothing_else_and_no_line_is_empty() {
        assert_eq!(
            rendered(&["a", "b"], "x\\ty\t\\N\n\tb\n", None),
            "\"x\ty\",\0\n,b\n".replace("\"x\ty\"", "x\ty")
        );
        assert_eq!(rendered(&["a"], "\n\\N\nx\n", None), "\"\"\n\0\nx\n");
    }

    #[test]
    fn hashed_columns_are_hashed_as_the_stream_hashes_them_and_null_stays_null() {
        let hmac = Hmac::new(b"key");
        let hash = hmac.hex(b"a\tb");
        let hashed = HashedColumns::new(hmac, vec![true, false]);
        assert_eq!(rendered(&["a", "b"], "a\\tb\tx\n\\N\ty\n", Some(&hashed)), format!("{hash},x\n\0,y\n"));
    }
}
