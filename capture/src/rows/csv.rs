//! CSV fields as `COPY … FORMAT CSV NULL AS '\0'` reads them (`redshift.md`, 1.2 and 1.3).

/// NULL in every column: no text of PostgreSQL's can hold this byte.
pub(crate) const NULL: u8 = 0;

/// Writes a line of fields that are written as a data file has them, and nothing beside. It is never empty. NULL is an empty
/// field where `null_is_empty` says so.
pub(crate) fn push_bare_row<'a>(
    fields: impl Iterator<Item = Option<&'a [u8]>>,
    null_is_empty: impl Fn(usize) -> bool,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    for (position, field) in fields.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        match field {
            None if null_is_empty(position) => {}
            None => out.push(NULL),
            Some(value) => push_field(value, out),
        }
    }
    if out.len() == start {
        out.extend_from_slice(b"\"\"");
    }
    out.push(b'\n');
}

/// Writes one field, quoted only if it must be.
pub(super) fn push_field(value: &[u8], out: &mut Vec<u8>) {
    if !needs_quotes(value) {
        out.extend_from_slice(value);
        return;
    }
    out.reserve(value.len() + 2);
    out.push(b'"');
    let mut rest = value;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=quote]);
        out.push(b'"');
        rest = &rest[quote + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// What [`push_field`] was given to write this field.
pub(super) fn unquoted(field: Vec<u8>) -> Vec<u8> {
    let Some(inner) = field.strip_prefix(b"\"").and_then(|field| field.strip_suffix(b"\"")) else {
        return field;
    };
    let mut value = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        value.extend_from_slice(&rest[..=quote]);
        // The second of two.
        rest = rest.get(quote + 2..).unwrap_or_default();
    }
    value.extend_from_slice(rest);
    value
}

/// Delimiters, quotes and line ends anywhere; blanks at the ends, which `COPY` may skip.
fn needs_quotes(value: &[u8]) -> bool {
    const BLOCK: usize = 32;
    let is_blank = |byte: Option<&u8>| byte.is_some_and(|&byte| byte <= b' ');
    if is_blank(value.first()) || is_blank(value.last()) {
        return true;
    }
    // Blocks without an early exit inside are what the compiler turns into vector instructions.
    let is_special = |byte: u8| (byte == b',') | (byte == b'"') | (byte == b'\n') | (byte == b'\r');
    let mut blocks = value.chunks_exact(BLOCK);
    blocks.any(|block| block.iter().fold(false, |found, &byte| found | is_special(byte)))
        || blocks.remainder().iter().fold(false, |found, &byte| found | is_special(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(value: &str) -> String {
        let mut out = Vec::new();
        push_field(value.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quotes_only_where_they_are_needed() {
        assert_eq!(field(""), "");
        assert_eq!(field("plain text"), "plain text");
        assert_eq!(field("a,b"), "\"a,b\"");
        assert_eq!(field("a\"b"), "\"a\"\"b\"");
        assert_eq!(field("\""), "\"\"\"\"");
        assert_eq!(field("a\nb"), "\"a\nb\"");
        assert_eq!(field("a\rb"), "\"a\rb\"");
        assert_eq!(field(" a"), "\" a\"");
        assert_eq!(field("a "), "\"a \"");
        assert_eq!(field("\t"), "\"\t\"");
        assert_eq!(field("\\N"), "\\N");
    }

    #[test]
    fn a_field_is_read_back() {
        for value in ["", "plain", "a,b", "\"", "\"\"", "say \"so\"", " \"a\" "] {
            assert_eq!(unquoted(field(value).into_bytes()), value.as_bytes());
        }
    }

    #[test]
    fn a_bare_row_is_never_empty() {
        let line = |fields: &[Option<&str>]| {
            let mut out = Vec::new();
            push_bare_row(fields.iter().map(|field| field.map(str::as_bytes)), |at| at == 3, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(&[Some("")]), "\"\"\n");
        assert_eq!(line(&[None]), "\0\n");
        assert_eq!(line(&[Some("a,"), None, Some("")]), "\"a,\",\0,\n");
        assert_eq!(line(&[None, None, None, None]), "\0,\0,\0,\n");
    }

    #[test]
    fn what_is_special_is_found_at_every_place() {
        for length in [1, 31, 32, 33, 64, 100] {
            for place in 0..length {
                let mut value = vec![b'x'; length];
                value[place] = b',';
                assert!(needs_quotes(&value), "length {length}, place {place}");
            }
            assert!(!needs_quotes(&vec![b'x'; length]));
        }
    }
}
