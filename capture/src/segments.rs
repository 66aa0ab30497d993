//! The history that a stream left on S3, for people and for whoever loads it again: read from S3 alone, segment by segment,
//! from any machine.

mod archive;
mod expendable;
mod list;
mod lost;
mod pick;
mod retention;
mod show;
mod tidy;

pub use archive::{Archive, Stored};
pub(crate) use expendable::Expendable;
pub use list::{ListOptions, list};
pub use lost::{Lost, tag_lost};
pub use pick::{Point, TablePick};
pub use retention::{Expired, Kept, Lacked, expire};
pub use show::show;
pub(crate) use tidy::tidy;
pub use tidy::{Cleaned, clean};
