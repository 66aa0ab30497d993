//! Numbers as PostgreSQL prints them.

use re_dms_shared::types::Policy;

use super::value::{Failure, Outcome, nulled};

/// Digits, perhaps with a sign, a point and an exponent: PostgreSQL prints finite numbers in no other way.
pub(super) fn is_finite(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
}

pub(super) fn is_special(value: &[u8]) -> bool {
    matches!(value, b"NaN" | b"Infinity" | b"-Infinity")
}

/// `money` is a 64-bit number of cents; its least is the one that `DECIMAL(19,2)` has no room for (`redshift.md`, 2.1).
pub(super) const LEAST_MONEY: &[u8] = b"-$92,233,720,368,547,758.08";

/// `$1,234.56` without its ornaments.
pub(super) fn push_money(value: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
    let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'-');
    if !value.iter().all(|&byte| plain(byte) || matches!(byte, b'$' | b',')) {
        return Err(Failure::Malformed("money as the C locale prints it"));
    }
    out.extend(value.iter().copied().filter(|&byte| plain(byte)));
    Ok(())
}

/// A number of any length for a `DECIMAL(precision,scale)`. What has no room there meets the policy: rounded half away
/// from zero, as PostgreSQL does it, or the largest number there is.
pub(super) fn push_decimal(
    value: &[u8],
    precision: usize,
    scale: usize,
    policy: Policy,
    out: &mut Vec<u8>,
) -> Result<Outcome, Failure> {
    let unsigned = value.strip_prefix(b"-").unwrap_or(value);
    let point = unsigned.iter().position(|&byte| byte == b'.').unwrap_or(unsigned.len());
    let (whole, fraction) = (&unsigned[..point], unsigned.get(point + 1..).unwrap_or_default());
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(Failure::Malformed("a number"));
    }
    let zeros = whole.iter().take_while(|&&digit| digit == b'0').count();
    let whole = &whole[zeros..];
    let (kept, lost) = fraction.split_at(fraction.len().min(scale));
    let too_large = whole.len() > precision - scale;
    if !too_large && lost.iter().all(|&digit| digit == b'0') {
        out.extend_from_slice(value);
        return Ok(Outcome::EXACT);
    }
    match policy {
        Policy::Error => return Err(Failure::Refused("types.inexact_numeric")),
        Policy::Null => return Ok(nulled(out)),
        Policy::Saturate | Policy::Truncate | Policy::Quarantine => {}
    }
    let mut digits = [whole, kept].concat();
    digits.resize(whole.len() + scale, b'0');
    if lost.first().is_some_and(|&digit| digit >= b'5') {
        increase(&mut digits);
    }
    if digits.len() > precision {
        digits = vec![b'9'; precision];
    }
    if value.len() > unsigned.len() {
        out.push(b'-');
    }
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    Ok(Outcome::SATURATED)
}

/// Adds one to the last digit.
fn increase(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(value: &str, precision: usize, scale: usize, policy: Policy) -> (String, Outcome) {
        let mut out = Vec::new();
        let outcome = push_decimal(value.as_bytes(), precision, scale, policy, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), outcome)
    }

    #[test]
    fn what_has_room_stays() {
        for value in ["0", "-12.30", "999.99", "0.000", "1.2300000", "007.5", "-0.01"] {
            assert_eq!(decimal(value, 5, 2, Policy::Error), (value.to_owned(), Outcome::EXACT));
        }
    }

    #[test]
    fn what_has_none_meets_the_policy() {
        let near = |value: &str| decimal(value, 5, 2, Policy::Saturate);
        for (value, nearest) in [
            ("1.005", "1.01"),
            ("-1.005", "-1.01"),
            ("1.0049", "1.00"),
            ("9.995", "10.00"),
            ("0.004", "0.00"),
            ("-0.005", "-0.01"),
            ("999.995", "999.99"),
            ("1000", "999.99"),
            ("-123456789012345678901234567890", "-999.99"),
        ] {
            assert_eq!(near(value), (nearest.to_owned(), Outcome::SATURATED), "{value}");
        }
        assert_eq!(decimal("2.5", 3, 0, Policy::Saturate), ("3".to_owned(), Outcome::SATURATED));
        assert_eq!(decimal("1.005", 5, 2, Policy::Null), ("\0".to_owned(), Outcome::NULLED));
        let refused = push_decimal(b"1000", 5, 2, Policy::Error, &mut Vec::new());
        assert_eq!(refused, Err(Failure::Refused("types.inexact_numeric")));
    }

    #[test]
    fn anything_else_is_refused() {
        for value in ["", "-", ".5", "1e5", "1.2.3", "x"] {
            let written = push_decimal(value.as_bytes(), 5, 2, Policy::Saturate, &mut Vec::new());
            assert_eq!(written, Err(Failure::Malformed("a number")), "{value}");
        }
    }
}
