//! `TupleData`: one row as pgoutput sends it, walked in place.

/// One column's value in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// A TOASTed value that the change did not touch and PostgreSQL did not send.
    Unchanged,
    /// The value's text form.
    Text(&'a [u8]),
}

/// A row in pgoutput's encoding: the number of columns (`u16`), then for each a tag byte (`n` null, `u` unchanged,
/// `t` text) and, for text, its length (`u32`) and bytes. Integers are big-endian.
///
/// Checked once, when made; walking it needs no more checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<'a> {
    raw: &'a [u8],
}

/// The bytes are not a row in pgoutput's encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TupleError {
    /// It ends in the middle.
    #[error("a row ends after {0} bytes, in the middle of a column")]
    Truncated(usize),
    /// A column begins with a byte that is no tag, or with `b`, which is never asked for.
    #[error("a row's column begins with the unknown tag {0:#04x}")]
    UnknownTag(u8),
}

impl<'a> Tuple<'a> {
    /// Checks the row at the start of `bytes`; returns it and what follows it.
    ///
    /// # Errors
    /// See [`TupleError`].
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), TupleError> {
        let truncated = || TupleError::Truncated(bytes.len());
        let mut rest = bytes.get(2..).ok_or_else(truncated)?;
        let columns = u16::from_be_bytes([bytes[0], bytes[1]]);
        for _ in 0..columns {
            let (&tag, after) = rest.split_first().ok_or_else(truncated)?;
            rest = match tag {
                b'n' | b'u' => after,
                b't' => {
                    let (length, data) = after.split_first_chunk::<4>().ok_or_else(truncated)?;
                    data.get(u32::from_be_bytes(*length) as usize..).ok_or_else(truncated)?
                }
                other => return Err(TupleError::UnknownTag(other)),
            };
        }
        let (raw, rest) = bytes.split_at(bytes.len() - rest.len());
        Ok((Self { raw }, rest))
    }

    /// Takes bytes that [`Tuple::as_bytes`] gave before.
    #[must_use]
    pub fn from_checked(raw: &'a [u8]) -> Self {
        debug_assert!(matches!(Tuple::parse(raw), Ok((_, []))), "bytes of a checked row");
        Self { raw }
    }

    /// The row's encoding, to be kept and walked later.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.raw
    }

    /// The number of columns.
    #[must_use]
    pub fn columns(self) -> usize {
        usize::from(u16::from_be_bytes([self.raw[0], self.raw[1]]))
    }

    /// The cells, in the order of the relation's columns.
    pub fn cells(self) -> impl Iterator<Item = Cell<'a>> {
        let mut rest = &self.raw[2..];
        std::iter::from_fn(move || {
            let (&tag, after) = rest.split_first()?;
            let (cell, after) = match tag {
                b'n' => (Cell::Null, after),
                b'u' => (Cell::Unchanged, after),
                _ => {
                    let (length, data) = after.split_first_chunk::<4>()?;
                    let (value, after) = data.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                    (Cell::Text(value), after)
                }
            };
            rest = after;
            Some(cell)
        })
    }

    /// The cells at these positions, which ascend; one beyond the row's end counts as unchanged: it was not sent.
    pub fn cells_at<'p>(
        self,
        positions: &'p [usize],
    ) -> impl ExactSizeIterator<Item = Cell<'a>> + use<'a, 'p> {
        let mut cells = self.cells();
        let mut walked = 0;
        positions.iter().map(move |&position| {
            let cell = cells.nth(position - walked).unwrap_or(Cell::Unchanged);
            walked = position + 1;
            cell
        })
    }

    /// Encodes cells into `out` in the same form.
    ///
    /// # Panics
    /// If there are more cells than a `u16` counts, or a cell has 4 GiB: neither exists in PostgreSQL.
    pub fn encode<'c>(cells: impl ExactSizeIterator<Item = Cell<'c>>, out: &mut Vec<u8>) {
        #[allow(clippy::expect_used)] // PostgreSQL's limits: 1,600 columns, 1 GiB a value
        let columns = u16::try_from(cells.len()).expect("at most 1,600 columns");
        out.extend_from_slice(&columns.to_be_bytes());
        for cell in cells {
            match cell {
                Cell::Null => out.push(b'n'),
                Cell::Unchanged => out.push(b'u'),
                Cell::Text(value) => {
                    #[allow(clippy::expect_used)] // as above
                    let length = u32::try_from(value.len()).expect("at most 1 GiB a value");
                    out.push(b't');
                    out.extend_from_slice(&length.to_be_bytes());
                    out.extend_from_slice(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells() -> impl Strategy<Value = Vec<Option<Option<Vec<u8>>>>> {
        prop::collection::vec(
            prop::option::of(prop::option::of(prop::collection::vec(any::<u8>(), 0..20))),
            0..20,
        )
    }

    fn as_cells(model: &[Option<Option<Vec<u8>>>]) -> Vec<Cell<'_>> {
        let cell = |value: &'_ Option<Option<Vec<u8>>>| match value {
            None => Cell::Unchanged,
            Some(None) => Cell::Null,
            Some(Some(_)) => Cell::Text(&[]),
        };
        let mut cells: Vec<Cell<'_>> = model.iter().map(cell).collect();
        for (cell, value) in cells.iter_mut().zip(model) {
            if let Some(Some(bytes)) = value {
                *cell = Cell::Text(bytes);
            }
        }
        cells
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_walked_back(model in cells(), tail: Vec<u8>) {
            let cells = as_cells(&model);
            let mut bytes = Vec::new();
            Tuple::encode(cells.iter().copied(), &mut bytes);
            let length = bytes.len();
            bytes.extend_from_slice(&tail);
            let (tuple, rest) = Tuple::parse(&bytes).unwrap();
            prop_assert_eq!(rest, &tail[..]);
            prop_assert_eq!(tuple.as_bytes().len(), length);
            prop_assert_eq!(tuple.columns(), cells.len());
            prop_assert_eq!(tuple.cells().collect::<Vec<_>>(), &cells[..]);
            let odd: Vec<usize> = (0..cells.len() + 2).filter(|position| position % 2 == 1).collect();
            let expected: Vec<Cell<'_>> =
                odd.iter().map(|&at| cells.get(at).copied().unwrap_or(Cell::Unchanged)).collect();
            prop_assert_eq!(tuple.cells_at(&odd).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            if let Ok((tuple, _)) = Tuple::parse(&bytes) {
                prop_assert_eq!(tuple.cells().count(), tuple.columns());
            }
        }
    }
}
