//! PostgreSQL servers of our own: where the programs are, who runs them, and a server's life from `initdb` to a fast
//! shutdown.
//!
//! PostgreSQL refuses to run as root. For root the servers run as the system's user `postgres`, who must be able to
//! enter their data and their programs: [`account`] sees to that without changing anybody's permissions.

pub mod account;
pub mod binaries;
mod server;

pub use account::Account;
pub use binaries::{PostgresBinaries, Wanted};
pub(crate) use server::stop;
pub use server::{PostgresOptions, PostgresServer};
