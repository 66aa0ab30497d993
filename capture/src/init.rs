//! `re_dms init`: what a source may be given before a stream runs, and have taken away again; and the files that a new stream
//! begins with ([`new`]).

pub mod new;

use crate::config::Config;
use crate::error::Result;
use crate::source::Source;

/// What to do with the event trigger that tells changes of tables' definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DdlTrigger {
    /// Put it there; what is there is replaced.
    Install,
    /// Take it away.
    Remove,
}

/// Prepares the source of a stream, which may run meanwhile.
///
/// # Errors
/// If the server refuses.
pub async fn init(config: &Config, ddl_trigger: DdlTrigger) -> Result<()> {
    let source = Source::connect(&config.source).await?;
    source.check_server().await?;
    let publication = &config.source.publication;
    match ddl_trigger {
        DdlTrigger::Install => {
            source.ensure_publication(&config.source).await?;
            source.install_ddl_trigger(publication).await?;
            tracing::info!(%publication, "the event trigger is installed");
        }
        DdlTrigger::Remove => {
            source.remove_ddl_trigger(publication).await?;
            tracing::info!(%publication, "the event trigger is removed");
        }
    }
    Ok(())
}
