//! What the stream holds against what slot and server say: positions that must not lie beyond each other.

use re_dms_shared::Lsn;

use super::ServerIdentity;
use crate::config::Config;
use crate::error::{Error, Result, Who};

/// The slot must not know more than we hold: `held` is the later of our place on S3 and in the local WAL.
///
/// # Errors
/// If somebody else consumed from the slot, it was made anew, or a disk was lost under `advance_on = "durable"`.
pub fn check_held(config: &Config, confirmed: Lsn, held: Lsn) -> Result<()> {
    if confirmed <= held {
        return Ok(());
    }
    Err(Error::fatal(
        Who::Stream,
        format!(
            "the replication slot {} is at {confirmed}, beyond {held}, the last position that this stream holds: the \
             changes between were given to somebody else, or the slot was made anew",
            config.slot.name
        ),
        "find out who reads this slot; the changes between can't be had from it any more, so begin a new stream that \
         copies the tables anew",
    ))
}

/// The server must hold all WAL that came from it: it sends none that it has not flushed. From a position that its WAL
/// has not reached it would send nothing until it has, and what it writes on the way would be missed silently.
///
/// # Errors
/// If the server was set back.
pub fn check_not_set_back(server: &ServerIdentity, held: Lsn) -> Result<()> {
    if held <= server.flushed {
        return Ok(());
    }
    Err(Error::fatal(
        Who::Stream,
        format!(
            "the server's WAL ends at {}, before {held}, up to where this stream has received it: the server was set \
             back to an older state",
            server.flushed
        ),
        "Redshift holds changes that this server has lost: begin a new stream that copies the tables anew",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_set_back_is_refused() {
        let server = |flushed| ServerIdentity { system_identifier: "7".to_owned(), timeline: 1, flushed };
        assert!(check_not_set_back(&server(Lsn(100)), Lsn(100)).is_ok());
        let error = check_not_set_back(&server(Lsn(99)), Lsn(100)).unwrap_err();
        assert!(!error.retry, "{error}");
        assert!(error.what.contains("0/63, before 0/64"), "{error}");
    }
}
