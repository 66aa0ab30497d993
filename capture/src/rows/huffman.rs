//! Deflate with Huffman codes alone, for text without repetitions: each byte gets the code that its frequency is worth, and
//! nothing is looked for. Libraries do this byte by byte in the machinery that they have for repetitions; without it, it is
//! several times as fast.
//!
//! The format is RFC 1951's, in the gzip member of RFC 1952.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Each block has codes of its own. It is long against the 150 bytes that describe them.
const BLOCK: usize = 256 << 10;

/// A code's longest length: deflate has up to 15, but with 12 four of them fit into a word beside what is left of a byte.
const LONGEST: usize = 12;
const AT_ONCE: usize = 4;

/// The symbol behind a block's last.
const END: usize = 256;

/// The longest code of a code's length.
const LONGEST_OF_LENGTHS: usize = 7;

/// In which order the lengths of the codes for lengths are written (RFC 1951, 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// No name, no time, the fastest of methods, an unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// One gzip member.
pub(super) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut out = Bits::new(text.len());
    out.bytes.extend_from_slice(&GZIP_HEADER);
    let blocks = text.len().div_ceil(BLOCK).max(1);
    for number in 0..blocks {
        let block = &text[number * BLOCK..text.len().min((number + 1) * BLOCK)];
        write_block(&mut out, block, number + 1 == blocks);
    }
    let mut out = out.finish();
    out.extend_from_slice(&libdeflater::crc32(text).to_le_bytes());
    // Its length modulo 2^32, as the format wants it.
    #[allow(clippy::cast_possible_truncation)]
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out
}

fn write_block(out: &mut Bits, block: &[u8], is_last: bool) {
    let lengths = lengths(&frequencies(block), LONGEST);
    let codes = codes(&lengths);
    // 10: a block with codes of its own.
    out.put(u64::from(is_last) | 0b10 << 1, 3);
    write_lengths(out, &lengths);
    out.put_all(block, &codes);
    let (code, length) = codes[END].parts();
    out.put(code, length);
}

/// What the decoder needs to make the same codes.
fn write_lengths(out: &mut Bits, lengths: &[u8]) {
    // Two codes of one bit for distances, of which there is none: fewer are not understood by every decoder.
    let all: Vec<usize> = lengths.iter().copied().map(usize::from).chain([1, 1]).collect();
    let mut used = [0_u32; ORDER.len()];
    all.iter().for_each(|length| used[*length] += 1);
    let of_lengths = self::lengths(&used, LONGEST_OF_LENGTHS);
    let codes = codes(&of_lengths);
    let written =
        ORDER.iter().rposition(|length| of_lengths[*length] > 0).map_or(4, |last| (last + 1).max(4));
    out.put((lengths.len() - 257) as u64, 5);
    out.put(1, 5);
    out.put((written - 4) as u64, 4);
    for length in &ORDER[..written] {
        out.put(of_lengths[*length].into(), 3);
    }
    for length in all {
        let (code, length) = codes[length].parts();
        out.put(code, length);
    }
}

/// How often each byte occurs, and the end of the block: once.
fn frequencies(block: &[u8]) -> [u32; END + 1] {
    // Side by side, since counting the same byte twice in a row waits for the first.
    let mut counts = [[0_u32; 256]; AT_ONCE];
    let (fours, rest) = block.as_chunks::<AT_ONCE>();
    for four in fours {
        for (counts, byte) in counts.iter_mut().zip(four) {
            counts[usize::from(*byte)] += 1;
        }
    }
    for byte in rest {
        counts[0][usize::from(*byte)] += 1;
    }
    let mut sums = [0; END + 1];
    for (byte, sum) in sums[..END].iter_mut().enumerate() {
        *sum = counts.iter().map(|counts| counts[byte]).sum();
    }
    sums[END] = 1;
    sums
}

/// The lengths of a Huffman code for symbols that occur so often, none above `longest`; 0 for those that don't occur.
fn lengths(frequencies: &[u32], longest: usize) -> Vec<u8> {
    let mut lengths = vec![0; frequencies.len()];
    let mut symbols: Vec<usize> = (0..frequencies.len()).filter(|symbol| frequencies[*symbol] > 0).collect();
    if let [only] = symbols[..] {
        lengths[only] = 1;
        return lengths;
    }
    let counts = limited(&counts_by_length(frequencies, &symbols), longest);
    symbols.sort_by_key(|symbol| Reverse(frequencies[*symbol]));
    let by_length =
        (1_u8..).zip(&counts[1..]).flat_map(|(length, count)| std::iter::repeat_n(length, *count));
    for (symbol, length) in symbols.into_iter().zip(by_length) {
        lengths[symbol] = length;
    }
    lengths
}

/// How many symbols have codes of each length in Huffman's tree.
fn counts_by_length(frequencies: &[u32], symbols: &[usize]) -> Vec<usize> {
    let mut parents = vec![0; symbols.len()];
    let leaves = symbols.iter().enumerate();
    let mut heap: BinaryHeap<_> =
        leaves.map(|(node, symbol)| Reverse((u64::from(frequencies[*symbol]), node))).collect();
    while let (Some(Reverse((light, one))), Some(Reverse((heavy, other)))) = (heap.pop(), heap.pop()) {
        let node = parents.len();
        parents.push(node);
        (parents[one], parents[other]) = (node, node);
        heap.push(Reverse((light + heavy, node)));
        if heap.len() == 1 {
            break;
        }
    }
    // Parents come after their children.
    let mut depths = vec![0; parents.len()];
    for node in (0..parents.len().saturating_sub(1)).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    let mut counts = vec![0; symbols.len() + 1];
    depths[..symbols.len()].iter().for_each(|depth| counts[*depth] += 1);
    counts
}

/// Codes that are too long are cut, and others made longer until all of them can be told apart again (Kraft's sum is 1).
fn limited(counts: &[usize], longest: usize) -> Vec<usize> {
    let mut limited = vec![0; longest + 1];
    for (length, count) in counts.iter().enumerate() {
        limited[length.min(longest)] += count;
    }
    let share = |length: usize| 1_usize << (longest - length);
    let mut sum: usize = (1..=longest).map(|length| limited[length] * share(length)).sum();
    while sum > share(0) {
        // A code of the longest length goes beside one that becomes longer by a bit.
        limited[longest] -= 1;
        if let Some(length) = (1..longest).rev().find(|length| limited[*length] > 0) {
            limited[length] -= 1;
            limited[length + 1] += 2;
        }
        sum -= 1;
    }
    limited
}

/// A code with its length.
#[derive(Clone, Copy, Debug, Default)]
struct Code(u32);

impl Code {
    /// The code's bits, the first of them the lowest, and how many they are.
    fn parts(self) -> (u64, u32) {
        (u64::from(self.0 >> 8), self.0 & 0xff)
    }
}

/// The codes of these lengths: in the order of lengths, then of symbols (RFC 1951, 3.2.2).
fn codes(lengths: &[u8]) -> Vec<Code> {
    let mut codes = vec![Code::default(); lengths.len()];
    let mut next = 0_u32;
    for length in 1..=lengths.iter().copied().max().unwrap_or(0) {
        next <<= 1;
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, its)| **its == length) {
            // A code is written from its highest bit on, everything else from the lowest.
            let bits = next.reverse_bits() >> (u32::BITS - u32::from(length));
            *code = Code(bits << 8 | u32::from(length));
            next += 1;
        }
    }
    codes
}

/// Bits, the lowest of a byte first.
struct Bits {
    bytes: Vec<u8>,
    /// What does not fill a byte yet.
    rest: u64,
    length: u32,
}

impl Bits {
    /// For a text of so many bytes.
    fn new(length: usize) -> Self {
        // Text without repetitions is mostly hex or base64.
        Self { bytes: Vec::with_capacity(length / 4 * 3 + 1024), rest: 0, length: 0 }
    }

    /// At most 12 bits.
    fn put(&mut self, bits: u64, length: u32) {
        self.rest |= bits << self.length;
        self.length += length;
        while self.length >= 8 {
            self.bytes.extend_from_slice(&self.rest.to_le_bytes()[..1]);
            self.rest >>= 8;
            self.length -= 8;
        }
    }

    /// The bytes' codes.
    fn put_all(&mut self, bytes: &[u8], codes: &[Code]) {
        let mut of_bytes = [Code::default(); 256];
        of_bytes.copy_from_slice(&codes[..256]);
        let (fours, rest) = bytes.as_chunks::<AT_ONCE>();
        let begin = self.bytes.len();
        let most = bytes.len() * LONGEST / 8 + size_of::<u64>();
        self.bytes.resize(begin + most, 0);
        let mut at = begin;
        let (mut word, mut length) = (self.rest, self.length);
        for four in fours {
            for byte in four {
                let (code, its) = of_bytes[usize::from(*byte)].parts();
                word |= code << length;
                length += its;
            }
            self.bytes[at..at + size_of::<u64>()].copy_from_slice(&word.to_le_bytes());
            at += length as usize / 8;
            word >>= length & !7;
            length &= 7;
        }
        self.bytes.truncate(at);
        (self.rest, self.length) = (word, length);
        for byte in rest {
            let (code, length) = of_bytes[usize::from(*byte)].parts();
            self.put(code, length);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.put(0, 7);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn assert_packs(text: &[u8]) -> usize {
        let packed = gzip(text);
        let mut plain = Vec::new();
        let mut rest = &packed[..];
        GzDecoder::new(&mut rest).read_to_end(&mut plain).unwrap();
        assert!(plain == text && rest.is_empty(), "{} bytes", text.len());
        packed.len()
    }

    #[test]
    fn a_byte_costs_what_its_frequency_is_worth() {
        let hex: Vec<u8> = (0..BLOCK).flat_map(|n| format!("{:04x}", n * n % 65521).into_bytes()).collect();
        // Four bits for each of sixteen digits but one, which shares its code's beginning with the end.
        assert!(assert_packs(&hex) < hex.len() / 2 + hex.len() / 100);
        let noise: Vec<u8> =
            (0..3 * BLOCK).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]).collect();
        assert!(assert_packs(&noise) < noise.len() + noise.len() / 100);
    }

    #[test]
    fn codes_that_would_be_too_long_are_limited() {
        // Fibonacci's numbers make the deepest of trees: as many levels as symbols.
        let mut often = (1, 1);
        let mut text = Vec::new();
        for byte in 0..26 {
            text.extend(std::iter::repeat_n(byte, often.0));
            often = (often.1, often.0 + often.1);
        }
        let block = &text[..BLOCK];
        let symbols = frequencies(block);
        let depth =
            counts_by_length(&symbols, &(0..=END).filter(|symbol| symbols[*symbol] > 0).collect::<Vec<_>>());
        assert!(depth.iter().rposition(|count| *count > 0) > Some(LONGEST), "{depth:?}");
        let lengths = lengths(&symbols, LONGEST);
        let sum: usize = lengths
            .iter()
            .filter(|length| **length > 0)
            .map(|length| 1 << (LONGEST - usize::from(*length)))
            .sum();
        assert_eq!(sum, 1 << LONGEST, "no code is another one's beginning, and none is missing");
        assert_packs(&text);
    }

    #[test]
    fn small_texts_and_blocks_that_are_just_full() {
        for length in [0, 1, 2, 3, BLOCK - 1, BLOCK, BLOCK + 1] {
            assert_packs(&vec![b'x'; length]);
            assert_packs(&(0..length).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_can_be_unpacked(pieces in prop::collection::vec((any::<u8>(), 0..5000_usize), 0..200)) {
            let text: Vec<u8> = pieces.into_iter().flat_map(|(byte, count)| std::iter::repeat_n(byte, count)).collect();
            assert_packs(&text);
        }
    }
}
