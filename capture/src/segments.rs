//! The history that a stream left on S3, for people and for whoever loads it again: read from S3 alone, segment by segment,
//! from any machine.

mod archive;
mod list;
mod lost;
mod pick;
mod show;

pub use archive::{Archive, Stored};
pub use list::{ListOptions, list};
pub(crate) use lost::tag_after_a_start;
pub use lost::{Lost, tag_lost};
pub use pick::{Point, TablePick};
pub use show::show;
