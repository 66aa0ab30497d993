//! `tls-server-end-point` (RFC 5929): the hash of the server's certificate, by the hash function of its signature.

use sha2::{Digest, Sha256, Sha384, Sha512};

/// Object identifiers of signatures, without tag and length, and the bits of their hash. MD5 and SHA-1 count as SHA-256.
const SIGNATURES: [(&[u8], u32); 9] = [
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4], 256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], 256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], 256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12], 384),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13], 512),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], 256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], 256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], 384),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4], 512),
];

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// Of a certificate in DER form; none for signatures without a hash of their own (Ed25519) or with one among their
/// parameters (PSS).
pub(super) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (fields, _) = element(certificate, SEQUENCE)?;
    let (_to_be_signed, rest) = element(fields, SEQUENCE)?;
    let (algorithm, _signature) = element(rest, SEQUENCE)?;
    let (identifier, _parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
    let (_, bits) = SIGNATURES.iter().find(|(known, _)| *known == identifier)?;
    Some(match bits {
        256 => Sha256::digest(certificate).to_vec(),
        384 => Sha384::digest(certificate).to_vec(),
        _ => Sha512::digest(certificate).to_vec(),
    })
}

/// The content of the first element, which must have this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_has_none() {
        assert_eq!(server_end_point(b""), None);
        assert_eq!(server_end_point(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), None);
        assert_eq!(server_end_point(&[0x30, 0x89, 1, 2, 3, 4, 5, 6, 7, 8, 9]), None);
        // A sequence of an empty sequence and one of an unknown identifier.
        assert_eq!(server_end_point(&[0x30, 7, 0x30, 0, 0x30, 3, 6, 1, 7]), None);
    }
}
