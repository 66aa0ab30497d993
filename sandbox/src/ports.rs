//! Free ports on 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};

use rand::RngExt;

use crate::error::{Error, Result};

/// Below the range that Linux gives to outgoing connections, so that a part that is down for a moment finds its port
/// free again.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port that nobody listens on, chosen at random so that two sandboxes that start together do not meet.
///
/// # Errors
/// None was found.
pub fn free() -> Result<u16> {
    let mut random = rand::rng();
    let candidates = std::iter::repeat_with(|| random.random_range(RANGE)).take(200);
    candidates.into_iter().find(|&port| is_free(port)).ok_or_else(|| Error::Missing {
        what: format!("no free port between {} and {} on 127.0.0.1", RANGE.start, RANGE.end),
        hint: "stop programs that listen there (ss -tlnp shows them)".into(),
    })
}

/// The port that was used before if it is still free, else another.
///
/// # Errors
/// None was found.
pub fn free_preferably(earlier: Option<u16>) -> Result<u16> {
    match earlier.filter(|&port| is_free(port)) {
        Some(port) => Ok(port),
        None => free(),
    }
}

/// Does nobody listen there?
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_port_is_kept_only_if_it_is_free() {
        let port = free().unwrap();
        assert_eq!(free_preferably(Some(port)).unwrap(), port);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(free_preferably(Some(port)).unwrap(), port);
        drop(listener);
    }
}
