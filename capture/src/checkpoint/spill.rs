//! A table's rows on disk, in parts that fit into memory: a key, or a row without one, is always in the same part.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::rows::{Change, Row};
use super::steps::broken;
use crate::error::Result;

/// The parts of one generation of a table.
pub(super) struct Spill {
    folder: PathBuf,
    parts: Vec<BufWriter<File>>,
    generation: u32,
}

impl Spill {
    pub(super) fn make(folder: &Path, generation: u32, parts: usize) -> Result<Self> {
        let make = |part: usize| File::create(path(folder, generation, part)).map(BufWriter::new);
        let parts = (0..parts).map(make).collect::<io::Result<Vec<_>>>();
        let parts = parts.map_err(|error| broken(folder, &error))?;
        Ok(Self { folder: folder.to_owned(), parts, generation })
    }

    pub(super) fn write(&mut self, key: &[u8], change: &Change) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        hasher.write(key);
        let part = hasher.finish() % self.parts.len() as u64;
        let part = &mut self.parts[usize::try_from(part).unwrap_or_default()];
        write(part, change).map_err(|error| broken(&self.folder, &error))
    }

    /// Its parts, one after the other; what is read is gone.
    pub(super) fn into_parts(self) -> Result<impl Iterator<Item = Result<PartReader>>> {
        let Self { folder, parts, generation } = self;
        let count = parts.len();
        for mut part in parts {
            part.flush().map_err(|error| broken(&folder, &error))?;
        }
        Ok((0..count).map(move |part| {
            let path = path(&folder, generation, part);
            let file = File::open(&path).map_err(|error| broken(&folder, &error))?;
            // The file lives on until it is closed.
            std::fs::remove_file(&path).map_err(|error| broken(&folder, &error))?;
            Ok(PartReader { folder: folder.clone(), file: BufReader::new(file) })
        }))
    }
}

fn path(folder: &Path, generation: u32, part: usize) -> PathBuf {
    folder.join(format!("{generation}.{part}.part"))
}

fn length(bytes: usize) -> io::Result<[u8; 4]> {
    // The largest is taken for NULL.
    let length = u32::try_from(bytes).ok().filter(|length| *length < u32::MAX);
    length.map(u32::to_le_bytes).ok_or_else(|| io::Error::other("a value of 4 GiB"))
}

fn write(out: &mut impl Write, change: &Change) -> io::Result<()> {
    out.write_all(&(change.marker as u64).to_le_bytes())?;
    out.write_all(&[change.operation])?;
    out.write_all(&change.number.to_le_bytes())?;
    out.write_all(&length(change.row.len())?)?;
    for field in &change.row {
        match field {
            None => out.write_all(&u32::MAX.to_le_bytes())?,
            Some(text) => {
                out.write_all(&length(text.len())?)?;
                out.write_all(text)?;
            }
        }
    }
    Ok(())
}

/// One part's changes in order.
pub(super) struct PartReader {
    folder: PathBuf,
    file: BufReader<File>,
}

impl PartReader {
    pub(super) fn next(&mut self) -> Result<Option<Change>> {
        self.read().map_err(|error| broken(&self.folder, &error))
    }

    fn read(&mut self) -> io::Result<Option<Change>> {
        let mut marker = [0; 8];
        match self.file.read(&mut marker[..1])? {
            0 => return Ok(None),
            _ => self.file.read_exact(&mut marker[1..])?,
        }
        let operation = self.bytes::<1>()?[0];
        let number = u64::from_le_bytes(self.bytes()?);
        let fields = u32::from_le_bytes(self.bytes()?);
        let mut row = Row::new();
        for _ in 0..fields {
            row.push(match u32::from_le_bytes(self.bytes()?) {
                u32::MAX => None,
                length => {
                    let mut text = vec![0; length as usize];
                    self.file.read_exact(&mut text)?;
                    Some(text.into())
                }
            });
        }
        let marker = usize::try_from(u64::from_le_bytes(marker)).map_err(io::Error::other)?;
        Ok(Some(Change { marker, operation, number, row }))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_in_order_and_equal_keys_are_together() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::make(folder.path(), 1, 3).unwrap();
        let change = |number: u64| Change {
            marker: 7,
            operation: b'u',
            number,
            row: vec![None, Some(b"".as_slice().into()), Some(b"a\0b".as_slice().into())],
        };
        for number in 0..30 {
            spill.write(&[u8::try_from(number % 5).unwrap()], &change(number)).unwrap();
        }
        let mut all = Vec::new();
        for part in spill.into_parts().unwrap() {
            let mut part = part.unwrap();
            let mut last = Vec::new();
            while let Some(found) = part.next().unwrap() {
                assert_eq!(found, change(found.number));
                last.push(found.number);
            }
            assert!(last.is_sorted());
            let keys: Vec<_> = last.iter().map(|number| number % 5).collect();
            assert!(keys.iter().all(|key| keys.iter().filter(|other| *other == key).count() == 6));
            all.extend(last);
        }
        all.sort_unstable();
        assert_eq!(all, (0..30).collect::<Vec<_>>());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
