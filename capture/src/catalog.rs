//! What the collector asks the source's catalog: over one connection that is kept, and as often as it takes.
//!
//! Called from the collector's thread, which is none of the runtime's. Nothing that is asked locks a table.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::config::{Config, SourceConfig};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::pulse::{Part, Wait};
use crate::relations::{AskCatalog, AskTypes, KnownTables, Look, Relations};
use crate::retry::Backoff;
use crate::source::Source;

/// Asks the catalog.
#[derive(Clone)]
pub(crate) struct Catalog {
    config: Arc<SourceConfig>,
    runtime: Handle,
    kept: Arc<Mutex<Option<Source>>>,
    /// Where the collector says that it waits for the source.
    progress: Option<Arc<Progress>>,
}

impl Catalog {
    /// Belongs to the runtime that this is called on.
    pub(crate) fn new(config: &SourceConfig) -> Self {
        Self {
            config: Arc::new(config.clone()),
            runtime: Handle::current(),
            kept: Arc::default(),
            progress: None,
        }
    }

    /// Says there that the collector waits, while it does.
    pub(crate) fn watched(self, progress: Arc<Progress>) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// Tables' shapes as the configuration wants them, beginning with what is `known`, and asking this catalog.
    pub(crate) fn relations(&self, config: &Config, known: KnownTables) -> Relations {
        let source = &config.source;
        Relations::new(
            source.tables.clone(),
            source.publication.clone(),
            known,
            self.keys(),
            self.definitions(),
        )
        .with_config(
            source.columns.clone(),
            config.target.clone(),
            config.tables.clone(),
            self.types(),
        )
    }

    /// Which key a table has.
    pub(crate) fn keys(&self) -> AskCatalog {
        let catalog = self.clone();
        Box::new(move |oid| catalog.ask(&async |source| source.catalog_table(oid).await))
    }

    /// What types are made of.
    pub(crate) fn types(&self) -> AskTypes {
        let catalog = self.clone();
        Box::new(move |oids| catalog.ask(&async |source| source.catalog_types(oids).await))
    }

    /// How a table is defined.
    pub(crate) fn definitions(&self) -> Look {
        let catalog = self.clone();
        Box::new(move |oid| {
            catalog.ask(&async |source| source.definition(oid, &catalog.config.publication).await)
        })
    }

    /// Asks until there is an answer; over a new connection if the last one failed.
    fn ask<T>(&self, question: &impl AsyncFn(&Source) -> Result<T>) -> Result<T> {
        let _waiting =
            self.progress.as_ref().map(|progress| progress.pulse(Part::Collector).waits_for(Wait::Source));
        self.runtime.block_on(async {
            let mut kept = self.kept.lock().await;
            let mut backoff = Backoff::new();
            loop {
                let asked = async {
                    let source = match kept.take() {
                        Some(source) => source,
                        None => Source::connect(&self.config).await?,
                    };
                    let answer = question(&source).await?;
                    *kept = Some(source);
                    Ok::<_, Error>(answer)
                };
                match asked.await {
                    Err(error) if error.retry => {
                        let pause = backoff.pause();
                        tracing::warn!(%error, retry_in_ms = pause.as_millis(), "the catalog can't be asked yet");
                        tokio::time::sleep(pause).await;
                    }
                    answer => return answer,
                }
            }
        })
    }
}
