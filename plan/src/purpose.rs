//! What the statements of a plan are for, in words.

use std::fmt;

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the display form explains each
pub enum Purpose {
    Begin,
    LockLedger,
    Guard,
    CreateSchema,
    CreateTable,
    DropTable,
    RenameTable,
    MoveRows,
    AddColumn,
    FillColumn,
    DropColumn,
    RenameColumn,
    WidenColumn,
    DropKey,
    KeepColumns,
    AlterLayout,
    Truncate,
    CreateStage,
    CheckEmpty,
    Copy,
    CountRows,
    Delete,
    Update,
    Move,
    Keep,
    Remove,
    Restore,
    Insert,
    DropStage,
    RecordTables,
    RecordSegment,
    Commit,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Begin => "beginning the transaction",
            Purpose::LockLedger => "locking the ledger",
            Purpose::Guard => "checking that the segment is next in the ledger",
            Purpose::CreateSchema => "creating the schema",
            Purpose::CreateTable => "creating the table",
            Purpose::DropTable => "dropping the table",
            Purpose::RenameTable => "renaming the table",
            Purpose::MoveRows => "moving the rows to another schema",
            Purpose::AddColumn => "adding a column",
            Purpose::FillColumn => "filling a column",
            Purpose::DropColumn => "dropping a column",
            Purpose::RenameColumn => "renaming a column",
            Purpose::WidenColumn => "widening a column",
            Purpose::KeepColumns => "keeping what replaced rows have in columns that the source has no more",
            Purpose::DropKey => "dropping the declared key",
            Purpose::AlterLayout => "changing how the table lies in Redshift",
            Purpose::Truncate => "emptying the table",
            Purpose::CreateStage => "creating the staging table",
            Purpose::CheckEmpty => "checking that the table is empty",
            Purpose::Copy => "copying from S3",
            Purpose::CountRows => "counting the copied rows",
            Purpose::Delete => "deleting rows",
            Purpose::Update => "updating rows",
            Purpose::Move => "moving rows to new keys",
            Purpose::Keep => "counting the copies of rows that go",
            Purpose::Remove => "removing rows of a table without a key",
            Purpose::Restore => "putting back the copies that stay",
            Purpose::Insert => "inserting rows",
            Purpose::DropStage => "dropping the staging table",
            Purpose::RecordTables => "recording what was skipped",
            Purpose::RecordSegment => "recording the segment in the ledger",
            Purpose::Commit => "committing the transaction",
        })
    }
}
