//! Redshift's error texts: what they mean for a retry, and what of them may be repeated. Texts about rows quote values,
//! and no value may reach a log (invariant 9).

use crate::error::Retry;

/// What may be quoted: the word before the quote says that a name follows.
const NAMES: [&str; 11] =
    ["relation", "table", "column", "schema", "database", "user", "role", "function", "type", "view", "near"];

/// Everything from here on is detail, with values or Redshift's inner workings.
const DETAIL: [&str; 5] = ["DETAIL", "Detail:", "detail:", "CONTEXT:", "-----"];

/// The first line of an error, without quoted values. A value may hold quotes itself: everything up to the line's last
/// quote goes with it.
#[must_use]
pub fn without_values(error: &str) -> String {
    let line = error.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let end = DETAIL.iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
    let mut kept = String::new();
    let mut rest = line[..end].trim();
    while let Some(open) = rest.find(['\'', '"']) {
        let (before, quoted) = rest.split_at(open);
        kept.push_str(before);
        let (quote, inner) = quoted.split_at(1);
        let is_name = follows_a_kind_of_name(before);
        let close = if is_name { inner.find(quote) } else { inner.rfind(quote) };
        let Some(close) = close else {
            // Cut off within a value.
            kept.push('…');
            return kept;
        };
        let (text, after) = inner.split_at(close);
        kept.push_str(quote);
        kept.push_str(if is_name { text } else { "…" });
        kept.push_str(quote);
        rest = &after[1..];
    }
    kept + rest
}

fn follows_a_kind_of_name(before: &str) -> bool {
    let before = before.trim_end();
    let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    NAMES.iter().any(|name| word.eq_ignore_ascii_case(name))
}

/// Whether the same statement may succeed later, by Redshift's words. Stopped without a word, it may.
#[must_use]
pub fn retry(error: &str) -> Retry {
    let error = words(error);
    let any = |parts: &[&str]| parts.iter().any(|part| error.contains(part));
    // 1023: serializable isolation; 1018: a table made after the transaction's snapshot
    let conflict = any(&["1023", "serializable isolation", "1018", "deadlock", "could not serialize"]);
    let lost = any(&[
        "connection",
        "terminat",
        "restart",
        "shut",
        "internal error",
        "session expired",
        "communication",
        "timed out",
    ]);
    if error.is_empty() || conflict || lost {
        Retry::Soon
    } else if any(&WAIT) {
        Retry::Wait
    } else {
        Retry::Never
    }
}

/// The warehouse's state, which changes without anybody looking at the statement.
const WAIT: [&str; 17] = [
    "paused",
    "pausing",
    "resuming",
    "maintenance",
    "resizing",
    "resize",
    "disk full",
    "no space",
    "too many",
    "throttl",
    "limit exceeded",
    "read-only",
    "cancel",
    "abort",
    "unavailable",
    "not available",
    "out of memory",
];

/// Whether an error that stays would meet every table alike: a role or a grant that is missing altogether.
#[must_use]
pub fn concerns_all(error: &str) -> bool {
    let error = words(error);
    let any = |parts: &[&str]| parts.iter().any(|part| error.contains(part));
    let missing_file = any(&["nosuchkey", "status 404", "key does not exist"]);
    let storage = any(&["s3serviceexception", "access denied", "accessdenied", "forbidden", "credential"]);
    (storage && !missing_file)
        || any(&[
            "iam role",
            "assume",
            "not authorized",
            "authentication",
            "permission denied for schema",
            "permission denied for database",
            "permission denied for language",
            "permission denied for role",
            "usage limit",
        ])
}

/// The error in lower case and without what is quoted: names and values are anybody's words.
fn words(error: &str) -> String {
    let error = error.to_ascii_lowercase();
    let mut kept = String::new();
    let mut rest = error.as_str();
    while let Some(open) = rest.find(['\'', '"']) {
        let (before, quoted) = rest.split_at(open);
        kept.push_str(before);
        let (quote, inner) = quoted.split_at(1);
        // An apostrophe within a word quotes nothing: what follows is read on.
        let in_word = quote == "'" && before.ends_with(|c: char| c.is_ascii_alphanumeric());
        match inner.find(quote).filter(|_| !in_word) {
            Some(close) => rest = &inner[close + 1..],
            None => rest = inner,
        }
    }
    kept + rest
}

/// Whether a query failed since its table or schema is not there.
#[must_use]
pub fn is_missing_relation(error: &str) -> bool {
    error.contains("does not exist") && (error.contains("relation") || error.contains("schema"))
}

/// Whether a column is refused a length since it has it.
#[must_use]
pub fn is_done_already(error: &str) -> bool {
    error.contains("target column size should be different")
}

/// What to do about a statement's failure.
#[must_use]
pub fn hint(error: &str) -> &'static str {
    let lower = error.to_ascii_lowercase();
    let any = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if any(&["permission denied", "must be owner"]) {
        "grant the loader's database user what it lacks: CREATE on the database, and ownership of the target tables"
    } else if any(&["value too long"]) {
        "widen the column in Redshift (ALTER TABLE … ALTER COLUMN … TYPE VARCHAR(n)), or drop the table and resync it"
    } else if any(&["kms:", "kms key"]) {
        "give the role in RE_DMS_COPY_ROLE kms:Decrypt on the key that the bucket encrypts with"
    } else if any(&[
        "assume",
        "iam role",
        "access denied",
        "accessdenied",
        "s3serviceexception",
        "not authorized",
        "credentials of role",
    ]) {
        "let the role in RE_DMS_COPY_ROLE read the bucket (s3:GetObject, s3:ListBucket), and attach it to the warehouse"
    } else if any(&["disk full", "no space"]) {
        "free space in Redshift or resize it; until then it is tried again"
    } else if any(&["paused", "pausing"]) {
        "resume the cluster; until then it is tried again"
    } else if any(&["out of memory"]) {
        "give the loader's queries more memory (workload management), or lower batch.max_bytes"
    } else if any(&["cannot alter column"]) {
        "give the column the longer type by hand: add a column of it, fill it, drop the old one, rename it; then it goes on"
    } else {
        match retry(error) {
            Retry::Never => {
                "look the statement up in sys_query_history by its name (re_dms/stream/epoch/seq)"
            }
            Retry::Now | Retry::Soon | Retry::Wait => "nothing: it is tried again",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_stay_and_values_go() {
        let cases = [
            (
                "ERROR: relation \"re_dms.ledger_main\" does not exist",
                "ERROR: relation \"re_dms.ledger_main\" does not exist",
            ),
            (
                "Load into table 'orders' failed. Check 'sys_load_error_detail' system table for details.",
                "Load into table 'orders' failed. Check '…' system table for details.",
            ),
            (
                "ERROR: invalid input syntax for type integer: \"hunter2\"",
                "ERROR: invalid input syntax for type integer: \"…\"",
            ),
            (
                "Invalid digit, Value 'h', Pos 0, Type: Integer",
                "Invalid digit, Value '…', Pos 0, Type: Integer",
            ),
            ("ERROR: x DETAIL: Key (id)=(hunter2) already exists.", "ERROR: x"),
            ("ERROR: x\n  detail:  hunter2", "ERROR: x"),
            ("ERROR: value 'it's hunter2' is odd", "ERROR: value '…' is odd"),
            ("ERROR: value 'two lines\nhunter2' is odd", "ERROR: value …"),
        ];
        for (error, expected) in cases {
            assert_eq!(without_values(error), expected);
        }
    }

    proptest! {
        #[test]
        fn no_quoted_value_survives(value in "\\PC{0,20}", quote in "['\"]") {
            let value = format!("zq{value}zq");
            let kept = without_values(&format!("ERROR: bad value {quote}{value}{quote} in it"));
            prop_assert!(!kept.contains("zq"), "{}", kept);
        }
    }

    #[test]
    fn who_can_help_is_told_how() {
        let cases = [
            ("ERROR: permission denied for relation orders", "grant the loader's database user"),
            ("ERROR: must be owner of relation orders", "ownership of the target tables"),
            ("ERROR: value too long for type character varying(4)", "widen the column"),
            ("S3ServiceException:The ciphertext … KMS key …", "kms:Decrypt"),
            ("S3ServiceException:Access Denied,Status 403", "read the bucket"),
            ("ERROR: User is not authorized to assume IAM Role", "attach it to the warehouse"),
            ("ERROR: Disk Full", "free space in Redshift"),
            ("ERROR: The cluster is paused", "resume the cluster"),
            ("ERROR: cannot alter column \"a\"", "by hand"),
            ("ERROR: 1023 Serializable isolation violation", "it is tried again"),
            ("ERROR: division by zero", "sys_query_history"),
        ];
        for (error, told) in cases {
            assert!(hint(error).contains(told), "{error}: {}", hint(error));
        }
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        assert_eq!(retry("ERROR: 1023 Serializable isolation violation on table - 1"), Retry::Soon);
        assert_eq!(retry("ERROR: terminating connection due to administrator command"), Retry::Soon);
        assert_eq!(retry("The cluster is paused"), Retry::Wait);
        assert_eq!(retry("ERROR: permission denied for schema x"), Retry::Never);
        assert_eq!(retry("ERROR: Disk Full"), Retry::Wait);
        assert_eq!(retry(""), Retry::Soon, "stopped without a word");
        let named = "ERROR: column \"connection\" of relation \"1023\" does not exist";
        assert_eq!(retry(named), Retry::Never, "names mean nothing");
        assert_eq!(retry("ERROR: value 'paused' is odd"), Retry::Never, "nor do values");
        assert_eq!(retry("ERROR: can't go on, the cluster's paused"), Retry::Wait);
    }

    #[test]
    fn one_table_is_not_to_blame_for_the_warehouse() {
        for error in [
            "ERROR: S3ServiceException:Access Denied,Status 403,Error AccessDenied,Rid X",
            "ERROR: User arn:aws:redshift:… is not authorized to assume IAM Role arn:aws:iam::1:role/copy",
            "ERROR: permission denied for schema public",
        ] {
            assert!(concerns_all(error), "{error}");
            assert_eq!(retry(error), Retry::Never, "{error}");
        }
        for error in [
            "ERROR: permission denied for relation orders",
            "ERROR: S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey",
            "ERROR: Load into table 'iam role' failed.",
            "ERROR: value too long for type character varying(4)",
        ] {
            assert!(!concerns_all(error), "{error}");
        }
    }
}
