//! What identifies a segment's trace: capture and loader, and whoever does something for the segment again, come to the same without
//! telling each other.

use sha2::{Digest, Sha256};

/// Of one segment of one epoch, whose text tells it from all others.
#[must_use]
pub fn digest_of_segment(epoch: &str, seq: u64) -> [u8; 32] {
    Sha256::digest(format!("re_dms\n{epoch}\n{seq}").as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_told_from_others_and_always_the_same() {
        assert_eq!(hex::encode(&digest_of_segment("E", 7)[..4]), "802a0361");
        assert_ne!(digest_of_segment("E", 7), digest_of_segment("E", 8));
        assert_ne!(digest_of_segment("E", 7), digest_of_segment("F", 7));
    }
}
