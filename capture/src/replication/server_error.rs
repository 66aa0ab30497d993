//! The server's errors, sorted by what is to be done about them.
//!
//! Sorted by SQLSTATE first. Where one SQLSTATE stands for several things, by the server's function that raised it or by
//! words of the message: functions are renamed between versions, messages are translated, so either one suffices.

use std::fmt;

/// An `ErrorResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`.
    pub severity: String,
    /// SQLSTATE: five characters.
    pub code: String,
    /// The server's words.
    pub message: String,
    /// More of them. Shown only for failures of slots and WAL, whose details never hold a row's values.
    pub detail: Option<String>,
    /// The function in the server that raised it.
    pub routine: Option<String>,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no such slot.
    SlotMissing,
    /// There is one of that name already.
    SlotExists,
    /// Someone else streams from the slot.
    SlotActive,
    /// The server gave the slot up.
    SlotInvalidated,
    /// There is no such publication.
    PublicationMissing,
    /// WAL that the slot needs is gone.
    WalRemoved,
    /// The server does not write what logical decoding needs.
    WalLevel,
    /// No slot or sender is free.
    Limit,
    /// Wrong password, unknown user, or pg_hba.conf says no.
    Authentication,
    /// The user may not.
    Privilege,
    /// The server is stopping, starting or recovering, or an administrator ended the connection.
    Shutdown,
    /// Anything else.
    Other,
}

impl ServerError {
    /// Reads the body of an `ErrorResponse` or `NoticeResponse`: fields of a letter and a zero-terminated text.
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut error = ServerError::default();
        for field in body.split(|&byte| byte == 0) {
            let Some((&kind, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            match kind {
                // `V` is `S` untranslated, and comes after it.
                b'S' | b'V' => error.severity = text,
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'R' => error.routine = Some(text),
                _ => {}
            }
        }
        error
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self.code.as_str() {
            "42704" if self.raised_by("publication") => Failure::PublicationMissing,
            // From 18 on a warning: the server would stream nothing, for ever.
            "55000" if self.raised_by("LoadPublications") || self.says("skipped loading publication") => {
                Failure::PublicationMissing
            }
            "42704" => Failure::SlotMissing,
            "42710" => Failure::SlotExists,
            "55006" => Failure::SlotActive,
            "55000" if self.raised_by("CheckLogicalDecodingRequirements") || self.says("wal_level") => {
                Failure::WalLevel
            }
            "55000" if self.is_of_an_invalidated_slot() => Failure::SlotInvalidated,
            "58P01" => Failure::WalRemoved,
            "53300" | "53400" => Failure::Limit,
            "42501" => Failure::Privilege,
            "57P01" | "57P02" | "57P03" | "57P05" => Failure::Shutdown,
            code if code.starts_with("28") => Failure::Authentication,
            _ => Failure::Other,
        }
    }

    fn is_of_an_invalidated_slot(&self) -> bool {
        let raisers =
            ["StartLogicalReplication", "CreateDecodingContext", "ReplicationSlotAcquire", "Invalidation"];
        let words =
            ["can no longer get changes", "can no longer access", "cannot read from logical", "invalidated"];
        raisers.iter().any(|routine| self.raised_by(routine)) || words.iter().any(|words| self.says(words))
    }

    fn raised_by(&self, routine: &str) -> bool {
        self.routine.as_deref().is_some_and(|name| name.contains(routine))
            || (routine == "publication" && self.message.starts_with("publication "))
    }

    fn says(&self, words: &str) -> bool {
        self.message.contains(words) || self.detail.as_deref().is_some_and(|detail| detail.contains(words))
    }
}

impl Failure {
    /// Trying again after a while may help, without anybody doing anything.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Failure::SlotActive | Failure::Limit | Failure::Shutdown)
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(self) -> Option<&'static str> {
        Some(match self {
            Failure::SlotMissing => {
                "the slot is gone, and with it the changes since it was last confirmed: a new slot is a new epoch and needs a new initial copy"
            }
            Failure::SlotExists => "drop the slot if nothing uses it, or give this stream another slot.name",
            Failure::SlotActive => {
                "another process streams from this slot: is there a second re_dms for the stream? A connection that died is let go after wal_sender_timeout"
            }
            Failure::SlotInvalidated => {
                "the server gave the slot up (max_slot_wal_keep_size, idle_replication_slot_timeout): changes are lost, drop the slot and begin a new epoch with a new initial copy"
            }
            Failure::PublicationMissing => {
                "create the publication; if the error stays, the slot stands before the publication was made and must be made anew after it"
            }
            Failure::WalRemoved => {
                "the server removed WAL that the slot needs: changes are lost, begin a new epoch with a new initial copy"
            }
            Failure::WalLevel => "set wal_level = logical on the source and restart it",
            Failure::Limit => "raise max_replication_slots, max_wal_senders or max_connections on the source",
            Failure::Authentication => {
                "check user and password in source.url, and that pg_hba.conf lets this user and host in (database lines, not `replication`)"
            }
            Failure::Privilege => {
                "the user needs the attribute REPLICATION (on RDS and Aurora: the role rds_replication)"
            }
            Failure::Shutdown => "the source is stopping or starting: connect again after a while",
            Failure::Other => return None,
        })
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL: {} (SQLSTATE {})", self.message, self.code)?;
        let failure = self.failure();
        if let (Some(detail), true) = (&self.detail, failure != Failure::Other) {
            write!(f, ": {detail}")?;
        }
        failure.hint().map_or(Ok(()), |hint| write!(f, " (hint: {hint})"))
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, message: &str, detail: &str, routine: &str) -> ServerError {
        let mut body = format!("SFEHLER\0VERROR\0C{code}\0M{message}\0Fslot.c\0L1\0R{routine}\0");
        if !detail.is_empty() {
            body.push_str(&format!("D{detail}\0"));
        }
        body.push('\0');
        ServerError::parse(body.as_bytes())
    }

    #[test]
    fn failures_are_told_apart_by_code_routine_or_words() {
        let cases = [
            (
                "42704",
                "replication slot \"s\" does not exist",
                "ReplicationSlotAcquire",
                Failure::SlotMissing,
            ),
            ("42704", "publication \"p\" does not exist", "get_publication_oid", Failure::PublicationMissing),
            ("42704", "Publikation »p« existiert nicht", "get_publication_oid", Failure::PublicationMissing),
            ("55006", "replication slot \"s\" is active for PID 7", "", Failure::SlotActive),
            ("55000", "logical decoding requires wal_level >= logical", "", Failure::WalLevel),
            ("55000", "übersetzt", "CheckLogicalDecodingRequirements", Failure::WalLevel),
            ("55000", "can no longer get changes from replication slot \"s\"", "", Failure::SlotInvalidated),
            ("55000", "cannot read from logical replication slot \"s\"", "", Failure::SlotInvalidated),
            ("55000", "can no longer access replication slot \"s\"", "", Failure::SlotInvalidated),
            ("55000", "something else", "", Failure::Other),
            ("55000", "skipped loading publication \"p\"", "", Failure::PublicationMissing),
            ("55000", "übersetzt", "LoadPublications", Failure::PublicationMissing),
            ("58P01", "requested WAL segment 00 has already been removed", "", Failure::WalRemoved),
            ("28P01", "password authentication failed for user \"u\"", "", Failure::Authentication),
            ("28000", "no pg_hba.conf entry", "", Failure::Authentication),
            ("42501", "must be superuser or replication role", "", Failure::Privilege),
            ("53400", "all replication slots are in use", "", Failure::Limit),
            ("57P01", "terminating connection due to administrator command", "", Failure::Shutdown),
            ("57P03", "the database system is starting up", "", Failure::Shutdown),
            ("XX000", "cache lookup failed", "", Failure::Other),
        ];
        for (code, message, routine, failure) in cases {
            assert_eq!(error(code, message, "", routine).failure(), failure, "{code} {message}");
        }
        let detail = "This slot has been invalidated because it exceeded the maximum reserved size.";
        assert_eq!(error("55000", "übersetzt", detail, "").failure(), Failure::SlotInvalidated);
    }

    #[test]
    fn only_details_that_hold_no_values_are_shown() {
        let shown = error("55000", "can no longer get changes", "This slot has been invalidated.", "");
        assert!(shown.to_string().contains("invalidated."), "{shown}");
        assert!(shown.to_string().contains("hint: "), "{shown}");
        let hidden = error("23505", "duplicate key", "Key (id)=(secret) already exists.", "");
        assert!(!hidden.to_string().contains("secret"), "{hidden}");
        assert_eq!(hidden.severity, "ERROR");
    }
}
