//! Which segments and which tables are meant, as a command line says it.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use re_dms_shared::columns::glob;
use re_dms_shared::manifest::{Action, Manifest, Step, Table};

/// A place in a stream's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A segment.
    Segment(u64),
    /// A time of the source's commits.
    Time(Timestamp),
}

impl Point {
    /// Whether the segment comes before this point as a whole.
    #[must_use]
    pub fn is_after(&self, manifest: &Manifest) -> bool {
        match self {
            Point::Segment(seq) => manifest.seq < *seq,
            Point::Time(time) => manifest.last_commit_time < *time,
        }
    }

    /// Whether the time is behind this point.
    #[must_use]
    pub fn is_before(&self, when: Timestamp) -> bool {
        matches!(self, Point::Time(time) if *time < when)
    }

    /// Whether the segment holds anything behind this point.
    #[must_use]
    pub fn is_before_end_of(&self, manifest: &Manifest) -> bool {
        match self {
            Point::Segment(seq) => manifest.seq > *seq,
            Point::Time(time) => manifest.last_commit_time > *time,
        }
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text
                .parse()
                .map(Point::Segment)
                .map_err(|_| "is too large for a segment's number".to_owned());
        }
        let utc = || {
            text.parse::<DateTime>()
                .and_then(|time| time.to_zoned(TimeZone::UTC))
                .map(|time| time.timestamp())
        };
        text.parse::<Timestamp>().or_else(|_| utc()).map(Point::Time).map_err(|_| {
            "is neither a segment's number nor a time such as 2026-01-31T12:00:00Z (without a zone: UTC)"
                .to_owned()
        })
    }
}

/// Tables by their names on the source, `schema.table` with `*` and `?`; without any, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablePick {
    patterns: Vec<(String, String)>,
}

impl TablePick {
    /// # Errors
    /// What is wrong with the first one that is no pattern.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let parse = |text: &String| match text.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                Ok((schema.to_owned(), table.to_owned()))
            }
            _ => Err(format!("{text} is not of the form schema.table, such as public.orders or sales.*")),
        };
        let mut patterns = texts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        patterns.sort();
        patterns.dedup();
        Ok(Self { patterns })
    }

    /// Nothing was said: all tables.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.patterns.is_empty()
    }

    /// As they were given, in order.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.patterns.iter().map(|(schema, table)| format!("{schema}.{table}")).collect()
    }

    /// Is it meant?
    #[must_use]
    pub fn names(&self, schema: &str, table: &str) -> bool {
        let matches = |(schemas, tables): &(String, String)| glob(schemas, schema) && glob(tables, table);
        self.is_all() || self.patterns.iter().any(matches)
    }

    /// Is the step about a table that is meant, by its name before or after?
    #[must_use]
    pub fn step(&self, step: &Step) -> bool {
        let named = |table: &Table| self.names(&table.schema, &table.name);
        let before = match &step.action {
            Action::Schema(change) => change.before.as_ref(),
            Action::Load(_) | Action::Chunk(_) | Action::Truncate | Action::Resync | Action::Replace(_) => {
                None
            }
        };
        named(&step.table) || before.is_some_and(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_number_or_a_time() {
        assert_eq!("42".parse(), Ok(Point::Segment(42)));
        let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for text in ["2026-01-31T12:00:00Z", "2026-01-31 12:00", "2026-01-31T14:00:00+02"] {
            assert_eq!(text.parse(), Ok(Point::Time(noon)), "{text}");
        }
        assert!("yesterday".parse::<Point>().unwrap_err().contains("neither"));
    }

    #[test]
    fn tables_are_picked_by_patterns() {
        let pick = TablePick::parse(&["public.o*".to_owned(), "s.t".to_owned()]).unwrap();
        assert!(pick.names("public", "orders") && pick.names("s", "t") && !pick.names("s", "orders"));
        assert!(TablePick::default().names("any", "thing"));
        assert!(TablePick::parse(&["orders".to_owned()]).unwrap_err().contains("schema.table"));
    }
}
