//! A file's compression, undone piece by piece. A file that is not what COPY was told, or ends too early, is refused.

use std::io::Write;

use flate2::write::MultiGzDecoder;

use crate::redshift::sql::FileCompression;

/// One file's.
pub(super) enum Decoder {
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

impl Decoder {
    pub(super) fn new(compression: FileCompression) -> std::io::Result<Self> {
        Ok(match compression {
            FileCompression::None => Self::Plain,
            FileCompression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            FileCompression::Zstd => Self::Zstd(Box::new(zstd::stream::write::Decoder::new(Vec::new())?)),
        })
    }

    /// What the next piece of the file holds.
    pub(super) fn feed(&mut self, piece: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(piece.to_vec()),
            Self::Gzip(decoder) => {
                decoder.write_all(piece)?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Zstd(decoder) => {
                decoder.write_all(piece)?;
                Ok(std::mem::take(decoder.get_mut()))
            }
        }
    }

    /// What is left at the file's end.
    pub(super) fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(Vec::new()),
            Self::Gzip(decoder) => decoder.finish(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn decoded(compression: FileCompression, file: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut decoder = Decoder::new(compression)?;
        let mut text = Vec::new();
        for piece in file.chunks(1_000) {
            text.extend(decoder.feed(piece)?);
        }
        text.extend(decoder.finish()?);
        Ok(text)
    }

    #[test]
    fn whole_files_of_the_right_kind_are_read_and_no_others() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::stream::encode_all(&text[..], 1).unwrap();
        assert_eq!(decoded(FileCompression::None, &text).unwrap(), text);
        for (right, wrong, file) in [
            (FileCompression::Gzip, FileCompression::Zstd, gzip),
            (FileCompression::Zstd, FileCompression::Gzip, zstd),
        ] {
            assert!(decoded(right, &file).unwrap() == text, "{right:?}");
            assert!(decoded(right, &file[..file.len() - 1]).is_err(), "{right:?}, cut short");
            assert!(decoded(right, &text).is_err(), "{right:?} of plain text");
            assert!(decoded(wrong, &file).is_err(), "{right:?} as {wrong:?}");
        }
    }
}
