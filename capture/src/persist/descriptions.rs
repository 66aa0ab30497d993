//! What the stream said about tables and types, to be repeated at the start of each file of the local WAL, so that older
//! files can go.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::u32_at;

/// The last Relation and Type messages.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    /// By tag and OID, in the form that they have outside of a streamed block.
    valid: BTreeMap<(u8, u32), Bytes>,
    /// Those within transactions in progress, by the transaction: they count once it commits.
    unfinished: HashMap<u32, Vec<Bytes>>,
}

impl Descriptions {
    /// Takes a Relation or Type message, which came within a block of the transaction `block` or outside of any.
    pub(super) fn add(&mut self, block: Option<u32>, payload: &Bytes) {
        match block {
            // A copy: the payload is a slice of a large buffer, which would stay as long as the table is known.
            None => self.keep(Bytes::copy_from_slice(payload)),
            Some(xid) => {
                // tag, number of the (sub)transaction, then as outside
                let (Some(tag), Some(rest)) = (payload.first(), payload.get(5..)) else { return };
                let outside = [&[*tag], rest].concat();
                self.unfinished.entry(xid).or_default().push(Bytes::from(outside));
            }
        }
    }

    pub(super) fn commit(&mut self, xid: u32) {
        for payload in self.unfinished.remove(&xid).unwrap_or_default() {
            self.keep(payload);
        }
    }

    pub(super) fn abort(&mut self, xid: u32) {
        self.unfinished.remove(&xid);
    }

    pub(super) fn forget_unfinished(&mut self) {
        self.unfinished.clear();
    }

    pub(super) fn all(&self) -> Vec<Bytes> {
        self.valid.values().cloned().collect()
    }

    fn keep(&mut self, payload: Bytes) {
        if let (Some(&tag), Some(oid)) = (payload.first(), u32_at(&payload, 1)) {
            self.valid.insert((tag, oid), payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_transaction_in_progress_says_counts_once_it_commits() {
        let mut descriptions = Descriptions::default();
        let outside = Bytes::from_static(b"R\0\0\0\x07old");
        let within = Bytes::from_static(b"R\0\0\0\x63\0\0\0\x07new");
        descriptions.add(None, &outside);
        descriptions.add(Some(99), &within);
        assert_eq!(descriptions.all(), std::slice::from_ref(&outside));
        descriptions.abort(99);
        descriptions.commit(99);
        assert_eq!(descriptions.all(), [outside]);
        descriptions.add(Some(99), &within);
        descriptions.commit(99);
        assert_eq!(descriptions.all(), [Bytes::from_static(b"R\0\0\0\x07new")]);
    }
}
