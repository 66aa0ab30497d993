//! Dates and times as COPY reads them (`redshift.md`, 1.4): Redshift's own form, and with 'auto' ISO 8601 too. What
//! 'auto' recognises beyond that in Redshift is refused here.

use super::load_error::{Code, FieldError};
use crate::redshift::settings::OpenPoints;
use crate::redshift::sql::TimeFormat;

/// Which parts a text must and may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
}

/// The value in a form that PostgreSQL reads exactly.
pub(super) fn normalise(
    text: &str,
    shape: Shape,
    format: TimeFormat,
    open: OpenPoints,
) -> Result<String, FieldError> {
    let error = || match shape {
        Shape::Date => FieldError::new(Code::Date, "Invalid Date Format - length must be 10 or more"),
        Shape::TimestampTz => {
            FieldError::new(Code::Timestamp, "Invalid timestamp format or value [YYYY-MM-DD HH24:MI:SSOF]")
        }
        _ => FieldError::new(Code::Timestamp, "Invalid timestamp format or value [YYYY-MM-DD HH24:MI:SS]"),
    };
    parse(text, shape, format, open).ok_or_else(error)
}

fn parse(text: &str, shape: Shape, format: TimeFormat, open: OpenPoints) -> Option<String> {
    if matches!(shape, Shape::Time | Shape::TimeTz) {
        let (time, rest) = time(text, open)?;
        let zone = zone(rest, format)?;
        return Some(match shape {
            Shape::TimeTz => format!("{time}{}", zone.unwrap_or("+00")),
            _ => time.to_owned(),
        });
    }
    let far = open.dates_may_be_far && format == TimeFormat::Auto;
    let (text, era) = match text.strip_suffix(" BC") {
        Some(text) if far => (text, " BC"),
        _ => (text, ""),
    };
    let (date, rest) = date(text, far, !era.is_empty())?;
    if rest.is_empty() {
        return Some(match shape {
            Shape::Date => format!("{date}{era}"),
            Shape::Timestamp => format!("{date} 00:00:00{era}"),
            _ => format!("{date} 00:00:00+00{era}"),
        });
    }
    let rest = match format {
        TimeFormat::Default => rest.strip_prefix(' ')?,
        TimeFormat::Auto => rest.strip_prefix([' ', 'T'])?,
    };
    let (time, rest) = time(rest, open)?;
    let zone = zone(rest, format)?;
    Some(match shape {
        Shape::Date => format!("{date}{era}"),
        Shape::Timestamp => format!("{date} {time}{era}"),
        _ => format!("{date} {time}{}{era}", zone.unwrap_or("+00")),
    })
}

/// `YYYY-MM-DD`, a day that exists; a `far` one may have a longer year, or be one before Christ.
fn date(text: &str, far: bool, before_christ: bool) -> Option<(&str, &str)> {
    const LAST_YEAR: i32 = 294_276;
    const FIRST_YEAR: i32 = -4712;
    let year_digits = text.find('-').filter(|&digits| digits == 4 || (far && (5..=6).contains(&digits)))?;
    let (date, rest) = text.split_at_checked(year_digits + 6)?;
    if date.as_bytes()[year_digits + 3] != b'-' {
        return None;
    }
    let number: i32 = digits(&date[..year_digits])?;
    // Years are counted without a year 0; leap years repeat after 400.
    let year = if before_christ { 1 - number } else { number };
    let alike = i16::try_from(2000 + year.rem_euclid(400)).ok()?;
    let day = &date[year_digits + 4..];
    jiff::civil::Date::new(alike, digits(&date[year_digits + 1..year_digits + 3])?, digits(day)?).ok()?;
    (number > 0 && (FIRST_YEAR..=LAST_YEAR).contains(&year)).then_some((date, rest))
}

/// `HH:MI:SS` with at most six digits of a fraction; `24:00:00` is a time of day too.
fn time(text: &str, open: OpenPoints) -> Option<(&str, &str)> {
    let seconds_end = 8;
    let (time, rest) = text.split_at_checked(seconds_end)?;
    let bytes = time.as_bytes();
    if bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let (hour, minute, second): (u8, u8, u8) =
        (digits(&time[..2])?, digits(&time[3..5])?, digits(&time[6..])?);
    let fraction =
        rest.strip_prefix('.').map_or(0, |rest| 1 + rest.bytes().take_while(u8::is_ascii_digit).count());
    if fraction == 1 || fraction > 7 {
        return None;
    }
    let (whole, rest) = text.split_at_checked(seconds_end + fraction)?;
    let midnight = open.times_may_be_24
        && hour == 24
        && whole.bytes().skip(2).all(|byte| !byte.is_ascii_digit() || byte == b'0');
    ((hour < 24 || midnight) && minute < 60 && second < 60).then_some((whole, rest))
}

/// Nothing, `Z` (only 'auto'), or `±HH`, `±HHMM`, `±HH:MM`.
fn zone(text: &str, format: TimeFormat) -> Option<Option<&str>> {
    if text.is_empty() {
        return Some(None);
    }
    if text == "Z" && format == TimeFormat::Auto {
        return Some(Some("+00"));
    }
    let offset = text.strip_prefix(['+', '-'])?;
    let (hours, minutes) = match offset.len() {
        2 => (offset, "00"),
        4 => offset.split_at_checked(2)?,
        5 => offset.split_once(':')?,
        _ => return None,
    };
    let (hours, minutes): (u8, u8) = (digits(hours)?, digits(minutes)?);
    (hours < 15 && minutes < 60).then_some(Some(text))
}

fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(text: &str, shape: Shape) -> Option<String> {
        normalise(text, shape, TimeFormat::Auto, OpenPoints::default()).ok()
    }

    fn default(text: &str, shape: Shape) -> Option<String> {
        normalise(text, shape, TimeFormat::Default, OpenPoints::default()).ok()
    }

    #[test]
    fn iso_forms_want_auto() {
        let iso = "2024-02-29T05:09:12.195Z";
        assert_eq!(auto(iso, Shape::TimestampTz).as_deref(), Some("2024-02-29 05:09:12.195+00"));
        assert_eq!(default(iso, Shape::TimestampTz), None);
        let own = "2024-02-29 05:09:12.195+00";
        assert_eq!(default(own, Shape::TimestampTz).as_deref(), Some(own));
        assert_eq!(default("2024-02-29", Shape::Timestamp).as_deref(), Some("2024-02-29 00:00:00"));
    }

    #[test]
    fn a_timestamp_ignores_its_zone_and_a_date_its_time() {
        assert_eq!(
            auto("2024-01-02 03:04:05+05:30", Shape::Timestamp).as_deref(),
            Some("2024-01-02 03:04:05")
        );
        assert_eq!(auto("2024-01-02 03:04:05", Shape::Date).as_deref(), Some("2024-01-02"));
    }

    #[test]
    fn times_end_at_twenty_four() {
        assert_eq!(auto("24:00:00", Shape::Time).as_deref(), Some("24:00:00"));
        assert_eq!(auto("24:00:01", Shape::Time), None);
        assert_eq!(auto("23:59:59.999999-03", Shape::TimeTz).as_deref(), Some("23:59:59.999999-03"));
    }

    #[test]
    fn what_is_open_can_be_chosen() {
        let open = OpenPoints { dates_may_be_far: true, times_may_be_24: false, ..OpenPoints::default() };
        let read = |text, shape| normalise(text, shape, TimeFormat::Auto, open).ok();
        assert_eq!(read("0044-03-15 BC", Shape::Date).as_deref(), Some("0044-03-15 BC"));
        assert_eq!(
            read("4713-01-01 00:00:00+00 BC", Shape::TimestampTz).as_deref(),
            Some("4713-01-01 00:00:00+00 BC")
        );
        assert_eq!(read("294276-12-31", Shape::Date).as_deref(), Some("294276-12-31"));
        for text in ["4714-01-01 BC", "294277-01-01", "0002-02-29 BC", "0000-01-01"] {
            assert_eq!(read(text, Shape::Date), None, "{text}");
        }
        assert_eq!(read("24:00:00", Shape::Time), None);
    }

    #[test]
    fn what_redshift_cannot_hold_is_refused() {
        for text in [
            "infinity",
            "0044-03-15 BC",
            "2023-02-29",
            "10000-01-01",
            "",
            "2024-1-2",
            "0000-01-01",
            "é2024-01-01",
        ] {
            assert_eq!(auto(text, Shape::Date), None, "{text}");
            assert_eq!(auto(text, Shape::Timestamp), None, "{text}");
        }
        assert_eq!(auto("2024-01-02 03:04:05.1234567", Shape::Timestamp), None, "seven digits");
        assert_eq!(auto("2024-01-02 03:04:05.", Shape::Timestamp), None);
        let error = normalise("x", Shape::Date, TimeFormat::Auto, OpenPoints::default()).unwrap_err();
        assert_eq!(error.code, Code::Date);
    }
}
