//! Keyed hashes: HMAC-SHA-256 (RFC 2104) in hex, with the key's half of the work done once.

use hmac::{KeyInit, Mac};
use sha2::Sha256;

/// A key, ready for use.
#[derive(Clone)]
pub struct Hmac(hmac::Hmac<Sha256>);

impl Hmac {
    /// With a key of any length.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        match hmac::Hmac::new_from_slice(key) {
            Ok(keyed) => Self(keyed),
            // The trait's other implementations ask for a length.
            Err(_) => unreachable!("HMAC takes keys of any length"),
        }
    }

    /// In lower-case hex digits.
    #[must_use]
    pub fn hex(&self, text: &[u8]) -> String {
        hex::encode(self.0.clone().chain_update(text).finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, cases 1, 2 and 6.
    #[test]
    fn the_examples_of_the_standard() {
        let hex = |key: &[u8], text: &[u8]| Hmac::new(key).hex(text);
        assert_eq!(
            hex(&[0x0b; 20], b"Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
