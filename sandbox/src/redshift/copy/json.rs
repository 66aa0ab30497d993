//! JSON text as SUPER takes it: well-formed, nested at most 1,000 deep, no string above 65,535 bytes.

const MAX_DEPTH: usize = 1000;
const MAX_STRING_BYTES: usize = 65_535;

/// Why a text is no SUPER value, and at which byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonError {
    pub(super) reason: &'static str,
    pub(super) position: usize,
}

/// Checks a whole text.
pub(super) fn check(text: &str) -> Result<(), JsonError> {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    // What is open: `{` or `[`.
    let mut open: Vec<u8> = Vec::new();
    loop {
        scanner.skip_blanks();
        let opened = scanner.value_start(&mut open)?;
        if opened {
            continue;
        }
        // A value has ended: close what closes, then go on after a comma.
        loop {
            scanner.skip_blanks();
            let Some(&container) = open.last() else {
                return if scanner.at == scanner.bytes.len() {
                    Ok(())
                } else {
                    scanner.error("trailing text")
                };
            };
            match (scanner.peek(), container) {
                (Some(b','), b'[') => {
                    scanner.at += 1;
                    break;
                }
                (Some(b','), _) => {
                    scanner.at += 1;
                    scanner.key()?;
                    break;
                }
                (Some(b']'), b'[') | (Some(b'}'), b'{') => {
                    scanner.at += 1;
                    open.pop();
                }
                _ => return scanner.error("expected a comma or the end of an object or array"),
            }
        }
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn error<T>(&self, reason: &'static str) -> Result<T, JsonError> {
        Err(JsonError { reason, position: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Reads a scalar or an empty container, or opens a container; true if one is open and a value must follow.
    fn value_start(&mut self, open: &mut Vec<u8>) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(container @ (b'{' | b'[')) => {
                if open.len() == MAX_DEPTH {
                    return self.error("nesting depth exceeds 1000");
                }
                self.at += 1;
                self.skip_blanks();
                let end = if container == b'{' { b'}' } else { b']' };
                if self.peek() == Some(end) {
                    self.at += 1;
                    return Ok(false);
                }
                open.push(container);
                if container == b'{' {
                    self.key()?;
                }
                return Ok(true);
            }
            _ => {
                let rest = &self.bytes[self.at..];
                let word =
                    [b"true".as_slice(), b"false", b"null"].into_iter().find(|word| rest.starts_with(word));
                match word {
                    Some(word) => self.at += word.len(),
                    None => return self.error("expected a value"),
                }
            }
        }
        Ok(false)
    }

    /// `"key":`
    fn key(&mut self) -> Result<(), JsonError> {
        self.skip_blanks();
        if self.peek() != Some(b'"') {
            return self.error("expected a key");
        }
        self.string()?;
        self.skip_blanks();
        if self.peek() != Some(b':') {
            return self.error("expected a colon");
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        let mut length = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => length += self.escape()?,
                Some(0..=0x1F) => return self.error("a control character in a string"),
                Some(_) => {
                    self.at += 1;
                    length += 1;
                }
                None => return self.error("a string without its end"),
            }
        }
        self.at += 1;
        if length > MAX_STRING_BYTES {
            return self.error("String value exceeds the max size of 65535 bytes");
        }
        Ok(())
    }

    /// Reads an escape; returns how many bytes it stands for.
    fn escape(&mut self) -> Result<usize, JsonError> {
        self.at += 1;
        let kind = self.peek();
        self.at += 1;
        match kind {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(1),
            Some(b'u') => match self.code_unit()? {
                0 => self.error("a NUL character in a string"),
                1..0x80 => Ok(1),
                0x80..0x800 => Ok(2),
                0xD800..0xDC00 => {
                    if self.bytes[self.at..].starts_with(b"\\u") {
                        self.at += 2;
                        if (0xDC00..0xE000).contains(&self.code_unit()?) {
                            return Ok(4);
                        }
                    }
                    self.error("a lone surrogate")
                }
                0xDC00..0xE000 => self.error("a lone surrogate"),
                _ => Ok(3),
            },
            _ => self.error("an unknown escape"),
        }
    }

    fn code_unit(&mut self) -> Result<u32, JsonError> {
        let digits = self.bytes.get(self.at..self.at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let unit = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match unit {
            Some(unit) => {
                self.at += 4;
                Ok(unit)
            }
            None => self.error("an unknown escape"),
        }
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        if self.digits()? > 1 && leading_zero {
            return self.error("a number with a leading zero");
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<usize, JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.error("expected a digit") } else { Ok(self.at - start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_another_parser() {
        let texts = [
            "null",
            " true ",
            "-0.5e+3",
            "01",
            "1.",
            "[]",
            "{}",
            "[1,[2,{}],\"x\"]",
            "{\"a\":{\"b\":[null]}}",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"a\nb\"",
            "\"\\x\"",
            "[1}",
            "]",
            "",
            "1 2",
            "nul",
            "\"open",
            "[",
            "{\"a\":",
            "-",
            "1e",
            "[[[]]]",
            "\"\\u00e9\"",
        ];
        for text in texts {
            let other = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(check(text).is_ok(), other, "{text}");
        }
    }

    #[test]
    fn limits_hold() {
        assert!(check(&format!("\"{}\"", "x".repeat(MAX_STRING_BYTES))).is_ok());
        assert!(check(&format!("\"{}\"", "x".repeat(MAX_STRING_BYTES + 1))).is_err());
        assert!(check(&format!("\"{}\"", "\\u00e9".repeat(32_768))).is_err(), "two bytes each");
        assert!(check(&format!("{}1{}", "[".repeat(1000), "]".repeat(1000))).is_ok());
        assert!(check(&format!("{}1{}", "[".repeat(1001), "]".repeat(1001))).is_err());
        assert!(check("\"\\u0000\"").is_err(), "not a NUL");
    }

    #[test]
    fn random_text_never_disagrees() {
        proptest::proptest!(|(text in "[\\[\\]{}\",:0-9a\\\\u.e\\- ]{0,12}")| {
            let other = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            // RawValue checks the grammar only; surrogates and NULs are judged here alone.
            if !text.contains("\\u") {
                proptest::prop_assert_eq!(check(&text).is_ok(), other, "{}", text);
            }
        });
    }
}
