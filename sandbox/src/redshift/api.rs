//! The Data API's wire protocol: JSON 1.1 over HTTP, one path, the operation in a header (`redshift.md`, 5.1 and 5.2).

mod catalog;
mod describe;
mod error;
mod listing;
mod page;
mod requests;
mod results;
mod server;
mod submit;
mod validation;

pub(super) use server::router;
