//! From a file's text to what lies on S3: one gzip member or one zstd frame, made in one go.
//!
//! Whole buffers are what makes it fast: libdeflate takes nothing else, and zstd chooses better when it knows the length.
//! The same text gives the same bytes: neither form holds a time or a name.
//!
//! Looking for repetitions is most of gzip's work, and in vain where there are none: hashes, encrypted or compressed values
//! in hex or base64. A sample tells; such text is only given [shorter codes](huffman), which takes a fraction of the time.

use libdeflater::{CompressionLvl, Compressor};
use re_dms_shared::manifest::Compression;

use super::error::RenderError;
use super::huffman;

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

    pub(crate) fn compress(self, text: &[u8]) -> Result<Vec<u8>, RenderError> {
        match self {
            Codec::Gzip(level) => gzip(text, level),
            Codec::Zstd(level) => {
                zstd(text, level).map_err(|error| RenderError::Compression(error.to_string()))
            }
        }
    }
}

/// Pieces of the text that are looked at, and their length: far apart, and each longer than what repeats in it.
const PIECES: usize = 4;
const PIECE: usize = 16 << 10;

fn gzip(text: &[u8], level: u8) -> Result<Vec<u8>, RenderError> {
    if text.len() < 16 * PIECES * PIECE {
        return with_repetitions(text, level);
    }
    let distance = text.len() / PIECES;
    let sample: Vec<u8> = (0..PIECES).flat_map(|piece| &text[piece * distance..][..PIECE]).copied().collect();
    let worth = with_repetitions(&sample, level)?.len();
    if huffman::gzip(&sample).len() <= worth + worth / 32 {
        Ok(huffman::gzip(text))
    } else {
        with_repetitions(text, level)
    }
}

fn with_repetitions(text: &[u8], level: u8) -> Result<Vec<u8>, RenderError> {
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
    fn text_without_repetitions_is_coded_only_and_other_text_is_not() {
        let hex: String = (0..200_000_u64)
            .map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15).reverse_bits()))
            .collect();
        let prose = "a line that comes again and again, ".repeat(90_000);
        for (text, plain_codes) in [(&hex, true), (&prose, false)] {
            let packed = Codec::Gzip(1).compress(text.as_bytes()).unwrap();
            assert_eq!(packed == huffman::gzip(text.as_bytes()), plain_codes);
            let mut plain = String::new();
            GzDecoder::new(&packed[..]).read_to_string(&mut plain).unwrap();
            assert_eq!(&plain, text);
        }
    }

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
