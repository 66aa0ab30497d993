//! The package that Lambda takes: a ZIP archive with one executable file.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

const VERSION: u16 = 20;
const DEFLATED: u16 = 8;
/// 1 January 1980, so that the same program makes the same archive.
const DATE: u16 = (1 << 5) | 1;
/// A regular file with mode 755, as Unix writes it.
const ATTRIBUTES: u32 = 0o100_755 << 16;
const MADE_BY_UNIX: u16 = 3 << 8 | VERSION;

/// Packs `content` as the archive's only file.
///
/// # Errors
/// It is larger than ZIP's 32-bit sizes allow.
pub fn executable(name: &str, content: &[u8]) -> std::io::Result<Vec<u8>> {
    let too_large = |_| std::io::Error::other("too large for a ZIP archive");
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content)?;
    let packed = encoder.finish()?;
    let mut checksum = flate2::Crc::new();
    checksum.update(content);

    // What the local header and the directory's entry have in common.
    let mut common = Vec::new();
    for word in [VERSION, 0, DEFLATED, 0, DATE] {
        common.extend(word.to_le_bytes());
    }
    common.extend(checksum.sum().to_le_bytes());
    common.extend(u32::try_from(packed.len()).map_err(too_large)?.to_le_bytes());
    common.extend(u32::try_from(content.len()).map_err(too_large)?.to_le_bytes());
    common.extend(u16::try_from(name.len()).map_err(too_large)?.to_le_bytes());
    common.extend(0_u16.to_le_bytes()); // no extra field

    let mut archive = Vec::with_capacity(packed.len() + 256);
    archive.extend(b"PK\x03\x04");
    archive.extend(&common);
    archive.extend(name.as_bytes());
    archive.extend(packed);

    let directory_at = u32::try_from(archive.len()).map_err(too_large)?;
    archive.extend(b"PK\x01\x02");
    archive.extend(MADE_BY_UNIX.to_le_bytes());
    archive.extend(&common);
    // no comment, first disk, not text
    archive.extend([0; 6]);
    archive.extend(ATTRIBUTES.to_le_bytes());
    archive.extend(0_u32.to_le_bytes()); // where its local header is
    archive.extend(name.as_bytes());
    let directory_bytes = u32::try_from(archive.len()).map_err(too_large)? - directory_at;

    archive.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    archive.extend(directory_bytes.to_le_bytes());
    archive.extend(directory_at.to_le_bytes());
    archive.extend(0_u16.to_le_bytes()); // no comment
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn another_implementation_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("function.zip");
        let content: Vec<u8> = (0..100_000_u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
        std::fs::write(&path, executable("bootstrap", &content).unwrap()).unwrap();
        std::fs::write(folder.path().join("expected"), &content).unwrap();
        let check = "import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
assert archive.namelist() == ['bootstrap'], archive.namelist()
assert archive.read('bootstrap') == open(sys.argv[2], 'rb').read()
assert archive.getinfo('bootstrap').external_attr >> 16 == 0o100755";
        let mut python = Command::new("python3");
        python.args(["-c", check]).arg(&path).arg(folder.path().join("expected"));
        let output = python.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
