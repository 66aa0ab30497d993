//! From a file's text to what lies on S3: one gzip member or one zstd frame, made in one go.
//!
//! Whole buffers are what makes it fast: libdeflate takes nothing else, and zstd chooses better when it knows the length.
//! The same text gives the same bytes: neither form holds a time or a name.

use libdeflater::{CompressionLvl, Compressor};
use re_dms_shared::manifest::Compression;

use super::error::RenderError;

/// How files are compressed, and how hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// By libdeflate, level 1 to 9.
    Gzip(u8),
    /// Level 1 to 9: beyond that it takes memory that nobody counts on.
    Zstd(u8),
}

impl Codec {
    /// What manifests call it.
    #[must_use]
    pub fn compression(self) -> Compression {
        match self {
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Zstd(_) => Compression::Zstd,
        }
    }

    pub(super) fn compress(self, text: &[u8]) -> Result<Vec<u8>, RenderError> {
        match self {
            Codec::Gzip(level) => gzip(text, level),
            Codec::Zstd(level) => {
                zstd(text, level).map_err(|error| RenderError::Compression(error.to_string()))
            }
        }
    }
}

fn gzip(text: &[u8], level: u8) -> Result<Vec<u8>, RenderError> {
    let level = CompressionLvl::new(level.into());
    let level = level.map_err(|_| RenderError::Compression("no such level".to_owned()))?;
    let mut compressor = Compressor::new(level);
    let mut out = vec![0; compressor.gzip_compress_bound(text.len())];
    let length = compressor.gzip_compress(text, &mut out);
    let length = length.map_err(|error| RenderError::Compression(error.to_string()))?;
    out.truncate(length);
    out.shrink_to_fit();
    Ok(out)
}

fn zstd(text: &[u8], level: u8) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(level.into())?;
    // As gzip has one.
    compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
    let mut out = compressor.compress(text)?;
    out.shrink_to_fit();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, Read};

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn one_gzip_member_or_zstd_frame_at_every_level() {
        let text: Vec<u8> =
            (0..200_000_u32).flat_map(|n| n.wrapping_mul(n).to_string().into_bytes()).collect();
        for text in [&[][..], b"x", &text] {
            for level in 1..=9 {
                let packed = Codec::Gzip(level).compress(text).unwrap();
                let mut rest = &packed[..];
                let mut plain = Vec::new();
                // This reader stops after one member; what follows it would be left over.
                GzDecoder::new(&mut rest).read_to_end(&mut plain).unwrap();
                assert!(plain == text && rest.is_empty(), "gzip {level}, {} bytes", text.len());

                let packed = Codec::Zstd(level).compress(text).unwrap();
                let mut decoder = zstd::stream::read::Decoder::new(&packed[..]).unwrap().single_frame();
                let mut plain = Vec::new();
                decoder.read_to_end(&mut plain).unwrap();
                let mut rest = decoder.finish();
                assert!(
                    plain == text && rest.fill_buf().unwrap().is_empty(),
                    "zstd {level}, {} bytes",
                    text.len()
                );
                assert!(packed[4] & 0b100 != 0, "the frame has a checksum");
            }
        }
    }
}
