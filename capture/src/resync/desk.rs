//! Between who reads tables anew and the collector, who has the stream and its tables.

use std::sync::{Arc, mpsc};

use re_dms_shared::Lsn;
use re_dms_shared::manifest::{KeyRange, Load};
use tokio::sync::{oneshot, watch};

use super::Visible;
use crate::batch::{Entry, TableShape};
use crate::error::Error;
use crate::relations::{KeyRanges, NamedTable, TableNow, Wish};

/// What the collector wants to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Tables that somebody wished for.
    pub wishes: Vec<Wish>,
    /// Tables that may be wished for.
    pub due: Vec<NamedTable>,
}

/// What the collector is told. It does these things at the beginning of a transaction; [`super::messages`] has one that means
/// nothing else.
#[derive(Debug)]
pub enum Command {
    /// Remember what is done to these tables from now on, and forget what is remembered of others.
    Watch {
        /// By OID. None of them, and nobody reads any more.
        oids: Vec<u32>,
        /// Whoever hears this takes the snapshot.
        watching: oneshot::Sender<()>,
    },
    /// A snapshot of these tables was taken: what comes behind it waits for their rows.
    Begin {
        /// Its position.
        snapshot: Lsn,
        /// The tables as it has them.
        tables: Vec<Seen>,
        /// What to do with each.
        begun: oneshot::Sender<Vec<Begun>>,
    },
    /// A table's rows are on S3.
    Replace {
        /// For which wish.
        wish: Wish,
        /// The rows' shape.
        shape: Arc<TableShape>,
        /// Where they are.
        load: Box<Load>,
        /// Whether somebody still wants them.
        taken: oneshot::Sender<bool>,
    },
    /// A table is to be read range by range. Done where the message with this place is.
    Sweep {
        /// The message's.
        place: String,
        /// The table.
        sweep: Box<Sweep>,
        /// What to do with it.
        begun: oneshot::Sender<Swept>,
    },
    /// A range was read. Done where the message with this place is, which was written after that.
    Chunk {
        /// The message's.
        place: String,
        /// The range.
        chunk: Box<ReadChunk>,
        /// What became of it.
        placed: oneshot::Sender<Placed>,
    },
}

/// A table that is to be read range by range.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// For which wish.
    pub wish: Wish,
    /// Where the server's WAL was when it was like this.
    pub since: Lsn,
    /// None if it is not there, or not replicated.
    pub now: Option<TableNow>,
    /// Names of its key's columns, in the order in which it will be read.
    pub key: Vec<String>,
}

/// What is to be done with it.
#[derive(Debug)]
pub enum Swept {
    /// Read what is left of it: rows have this shape.
    Read(Arc<TableShape>, KeyRanges),
    /// Its definition has changed, or the wish is another one: look again.
    Later,
    /// It is to be read as a whole.
    Whole,
    /// There is nothing to be read: the wish is forgotten.
    Nothing,
    /// It can't be held in Redshift: the wish is forgotten.
    Refused(Error),
}

/// Ranges of a table as a statement saw them.
#[derive(Debug)]
pub struct ReadChunk {
    /// The table.
    pub oid: u32,
    /// The wish's id.
    pub wish: String,
    /// What the statement saw.
    pub seen: Visible,
    /// The first that was left, or its beginning; or several of one key each.
    pub ranges: Vec<KeyRange>,
    /// The rows' shape.
    pub shape: Arc<TableShape>,
    /// All of their rows.
    pub rows: Vec<Entry>,
}

/// What became of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is in the stream, and this is left; nothing, and the wish is fulfilled.
    Done(KeyRanges),
    /// Too much happened to it meanwhile: it is to be read again. Why.
    Void(&'static str),
    /// The table, or what is wanted of it, is not what it was: look again.
    Begin,
}

/// A table as a snapshot has it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// For which wish.
    pub wish: Wish,
    /// None if it is not there, or not replicated.
    pub now: Option<TableNow>,
}

/// What is to be done with a table.
#[derive(Debug)]
pub enum Begun {
    /// Read it: its rows have this shape.
    Read(Arc<TableShape>),
    /// The stream ran away from the snapshot, or the wish is another one: there will be another snapshot.
    Later,
    /// There is nothing to be read: the wish is forgotten.
    Nothing,
    /// It can't be held in Redshift: the wish is forgotten.
    Refused(Error),
}

/// The collector's side.
#[derive(Debug)]
pub struct Desk {
    /// What comes in.
    pub commands: mpsc::Receiver<Command>,
    /// What goes out.
    pub wanted: watch::Sender<Wanted>,
}

/// The other side.
#[derive(Debug)]
pub struct Reader {
    /// What goes to the collector.
    pub commands: mpsc::Sender<Command>,
    /// What it wants.
    pub wanted: watch::Receiver<Wanted>,
}

/// Both sides.
#[must_use]
pub fn desk() -> (Desk, Reader) {
    let (sender, receiver) = mpsc::channel();
    let (wanted, wants) = watch::channel(Wanted::default());
    (Desk { commands: receiver, wanted }, Reader { commands: sender, wanted: wants })
}
