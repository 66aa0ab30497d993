//! Redshift's part, through the loader: in the stream's own group of the queue, so that it comes behind what was announced.

use std::collections::BTreeSet;
use std::time::Instant;

use re_dms_shared::remove::{FORMAT, MOST_TABLES, REQUEST, RemoveAnswer, RemoveRequest, RemovedTable};
use re_dms_shared::s3_layout::StreamLayout;
use re_dms_shared::{Epoch, Lsn};

use super::Plan;
use crate::aws::Objects;
use crate::error::{Error, Result, Who};
use crate::history::History;
use crate::start::read_place;

/// How often the answer is looked for.
const LOOK: std::time::Duration = std::time::Duration::from_millis(500);

/// The tables in Redshift that the stream made or filled, as S3 knows them.
pub(super) async fn tables(
    objects: &Objects,
    layout: &StreamLayout,
    epoch: &Epoch,
    timeline: u32,
) -> Result<Vec<RemovedTable>> {
    let place = read_place(objects, layout, epoch.clone(), timeline, Lsn::ZERO).await?;
    let table = |(schema, name): (&str, &str)| RemovedTable { schema: schema.into(), name: name.into() };
    let mut tables: BTreeSet<_> = place.known.targets().map(table).collect();
    // An initial copy that is not done: only its segments know the tables.
    if place.copy.is_pending() {
        let epoch = epoch.to_string();
        let history = History::new(objects, layout, &epoch);
        for seq in 1..=place.copy.segments() {
            let Some(segment) = history.segment(seq).await? else { continue };
            let steps = segment.manifest.steps.iter().map(|step| &step.table);
            tables.extend(steps.map(|of| table((&of.target_schema, &of.target_name))));
        }
    }
    Ok(tables.into_iter().collect())
}

/// The tables, some at a time, then ledger and table log: whoever begins again still finds these.
pub(super) async fn remove(plan: &Plan<'_>, tell: &mut (dyn FnMut(String) + Send)) -> Result<()> {
    for tables in plan.tables.chunks(MOST_TABLES) {
        ask(plan, tables.to_vec(), false).await?;
        for RemovedTable { schema, name } in tables {
            tell(format!("Redshift: the table {schema}.{name} dropped"));
        }
    }
    ask(plan, Vec::new(), true).await?;
    tell(
        "Redshift: ledger and table log dropped; the schema re_dms stays, for it may be other streams' too"
            .to_owned(),
    );
    Ok(())
}

async fn ask(plan: &Plan<'_>, tables: Vec<RemovedTable>, records: bool) -> Result<()> {
    let stream = &plan.config.stream;
    let id = uuid::Uuid::new_v4().to_string();
    let request = RemoveRequest {
        format: FORMAT,
        request: REQUEST.to_owned(),
        stream: stream.clone(),
        id: id.clone(),
        bucket: plan.objects.bucket().to_owned(),
        answer_key: format!("{}/answer.json", plan.layout.check(&id)),
        tables,
        records,
    };
    plan.queues.send(stream, &request, &id).await?;
    let started = Instant::now();
    while started.elapsed() < plan.options.patience {
        tokio::time::sleep(LOOK).await;
        let Some(json) = plan.objects.get(&request.answer_key).await? else { continue };
        let answer: RemoveAnswer = serde_json::from_slice(&json).map_err(|error| {
            let what = format!("the loader's answer can't be understood: {error}");
            Error::fatal(Who::Loader, what, "is it newer than this program?")
        })?;
        plan.objects.delete(&request.answer_key).await?;
        return match answer.failure {
            None => Ok(()),
            Some(failure) => Err(Error::fatal(Who::Loader, failure.what, failure.hint)),
        };
    }
    Err(Error::fatal(
        Who::Loader,
        format!("no answer within {} s", plan.options.patience.as_secs()),
        "it comes behind the segments that were announced: if these can't be loaded, see `re_dms status`, or do it by hand \
         (DROP TABLE of what was named above) and go on with --no-redshift. A loader older than this program does not answer",
    ))
}
