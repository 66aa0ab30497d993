//! Somebody who looks into the warehouse all the time: each transaction leaves its number in one table with its first
//! statement and in another with its last, and nobody may ever see one without the other, or one go away again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// The marks of transactions that are in one table only, and how many are in the first.
const LOOK: &str = "
    SELECT (SELECT count(*) FROM (SELECT id FROM public.mark_here EXCEPT SELECT id FROM public.mark_there) a)
         + (SELECT count(*) FROM (SELECT id FROM public.mark_there EXCEPT SELECT id FROM public.mark_here) b),
         (SELECT count(*) FROM public.mark_here)";

/// Looks until it is told to stop.
pub(super) struct Reader {
    looking: Option<JoinHandle<Result<u64>>>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    pub(super) fn start(warehouse: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let looking = tokio::spawn(look(warehouse, Arc::clone(&stop)));
        Self { looking: Some(looking), stop }
    }

    /// Has it seen nothing wrong so far?
    pub(super) async fn check(&mut self) -> Result<()> {
        match &self.looking {
            Some(looking) if looking.is_finished() => self.outcome().await.map(|_| ()),
            _ => Ok(()),
        }
    }

    pub(super) async fn end(&mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.outcome().await
    }

    async fn outcome(&mut self) -> Result<u64> {
        self.looking.take().context("the reader has ended before")?.await?
    }
}

async fn look(warehouse: Client, stop: Arc<AtomicBool>) -> Result<u64> {
    let (mut before, mut looks) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        match warehouse.query_one(LOOK, &[]).await {
            Ok(row) => {
                let (halves, marks): (i64, i64) = (row.get(0), row.get(1));
                ensure!(halves == 0, "{halves} transactions are seen by half");
                ensure!(marks >= before, "{} transactions were there and are gone", before - marks);
                before = marks;
                looks += 1;
            }
            // The loader makes it with its first row.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {}
            Err(error) => return Err(error).context("looking into the warehouse"),
        }
        sleep(Duration::from_millis(25)).await;
    }
    Ok(looks)
}
