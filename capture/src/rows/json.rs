//! Whether JSON fits into a SUPER column.

use super::value::MAX_ROW_BYTES;

/// The longest string, keys included, in bytes of UTF-8.
pub(super) const MAX_STRING_BYTES: usize = 65_535;

/// The deepest nesting.
const MAX_DEPTH: usize = 1_000;

/// Whether `COPY` takes the text, which PostgreSQL has checked to be JSON, into SUPER (`redshift.md`, 2.1): no string
/// too long, no nesting too deep, and no escape that stands for no character that Redshift stores (`\u0000`, half a
/// surrogate pair), which the type `json` lets through.
pub(super) fn is_loadable(text: &[u8]) -> bool {
    if text.len() > MAX_ROW_BYTES {
        return false;
    }
    // What is this short and has no escapes can break none of the limits.
    let is_simple = text.len() <= MAX_DEPTH && !text.contains(&b'\\');
    is_simple || scan(text).is_some()
}

/// Walks over the text; `None` where it breaks a limit.
fn scan(text: &[u8]) -> Option<()> {
    let mut rest = text;
    let mut depth = 0_usize;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return None;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => rest = skip_string(rest)?,
            _ => {}
        }
    }
    Some(())
}

/// What follows the string whose opening quote is just before `text`.
fn skip_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    let mut bytes = 0;
    loop {
        let plain = memchr::memchr2(b'"', b'\\', rest)?;
        bytes += plain;
        if rest[plain] == b'"' {
            return (bytes <= MAX_STRING_BYTES).then_some(&rest[plain + 1..]);
        }
        let (length, after) = decode_escape(&rest[plain + 1..])?;
        bytes += length;
        rest = after;
    }
}

/// The bytes of UTF-8 that an escape stands for, and what follows it; `text` begins behind the backslash.
fn decode_escape(text: &[u8]) -> Option<(usize, &[u8])> {
    let Some(text) = text.strip_prefix(b"u") else {
        return Some((1, text.get(1..)?));
    };
    let (first, rest) = code_unit(text)?;
    let (pair, rest) = match first {
        0xD800..=0xDBFF => {
            let (second, rest) = code_unit(rest.strip_prefix(b"\\u")?)?;
            ([first, second], rest)
        }
        _ => ([first, 0], rest),
    };
    let units = if pair[1] == 0 { &pair[..1] } else { &pair[..] };
    let character = char::decode_utf16(units.iter().copied()).next()?.ok()?;
    (character != '\0').then_some((character.len_utf8(), rest))
}

fn code_unit(text: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<4>()?;
    let unit = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((unit, rest))
}

/// Writes a JSON string.
pub(super) fn push_string(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..b' ' => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xF)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(content: &str) -> Vec<u8> {
        format!("{{\"key\": \"{content}\"}}").into_bytes()
    }

    #[test]
    fn strings_may_have_65535_bytes() {
        assert!(is_loadable(&string(&"x".repeat(65_535))));
        assert!(!is_loadable(&string(&"x".repeat(65_536))));
        assert!(is_loadable(&string(&"ä".repeat(32_767))));
        assert!(!is_loadable(&string(&"ä".repeat(32_768))));
        assert!(!is_loadable(format!("{{\"{}\": 1}}", "k".repeat(65_536)).as_bytes()), "keys too");
        assert!(is_loadable(format!("[\"{0}\", \"{0}\"]", "x".repeat(65_000)).as_bytes()), "each by itself");
    }

    #[test]
    fn escapes_count_as_what_they_stand_for() {
        assert!(is_loadable(&string(&r#"\""#.repeat(65_535))));
        assert!(!is_loadable(&string(&r#"\""#.repeat(65_536))));
        assert!(is_loadable(&string(&r"\u00e4".repeat(32_767))));
        assert!(!is_loadable(&string(&r"\u00e4".repeat(32_768))));
        assert!(is_loadable(&string(&r"\ud83d\ude00".repeat(16_383))));
        assert!(!is_loadable(&string(&r"\ud83d\ude00".repeat(16_384))));
    }

    #[test]
    fn what_is_no_character_is_not_loaded() {
        assert!(!is_loadable(&string(r"\u0000")));
        assert!(!is_loadable(&string(r"\ud83d")));
        assert!(!is_loadable(&string(r"\ud83d\u0041")));
        assert!(!is_loadable(&string(r"\ude00")));
        assert!(is_loadable(&string(r"\\u0000")), "an escaped backslash and five letters");
    }

    #[test]
    fn nesting_may_have_1000_levels() {
        let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat().into_bytes();
        assert!(is_loadable(&nested(1_000)));
        assert!(!is_loadable(&nested(1_001)));
        assert!(is_loadable(&string(&"[".repeat(5_000))), "brackets in strings are text");
        assert!(is_loadable(format!("[{}]", vec!["[]"; 5_000].join(",")).as_bytes()), "side by side");
    }

    #[test]
    fn text_beyond_a_row_is_not_loaded() {
        let long = |bytes: usize| vec![b' '; bytes];
        assert!(is_loadable(&long(MAX_ROW_BYTES)));
        assert!(!is_loadable(&long(MAX_ROW_BYTES + 1)));
    }
}
