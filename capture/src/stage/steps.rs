//! A batch's steps as files: written side by side on the cores there are, each uploaded as soon as it is ready, and named
//! in the order of the rows, whichever is ready first.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use re_dms_shared::manifest::{Action, Chunk, DataFile, KeyRange, Load, Step, copy_manifest_json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{SegmentStore, Stager};
use crate::batch::{KeyedRows, LoadData, StepAction, StepData, TableShape};
use crate::error::{Error, Result, Who};
use crate::metrics::{count_load, upload};
use crate::pulse::{Part, Wait};
use crate::rows::{self, Codec, FileRows, FileSize, FileSummary, LoadContext, LoadSummary};
use crate::threads;

/// Files written at the same time. Four cores write more than one PostgreSQL process sends, and each file takes memory.
const MOST_RENDERERS: usize = 4;

/// Objects on their way at the same time: files that are written, and those that wait for S3.
const OBJECTS_AT_ONCE: usize = 8;

/// Files of this many times the largest one's size may wait for S3: then no more are written.
const FILES_IN_WAITING: usize = 2;

/// A step whose files are not written yet.
struct PlannedStep {
    number: u32,
    shape: Arc<TableShape>,
    action: PlannedAction,
}

enum PlannedAction {
    /// It takes no files.
    Ready(Box<Action>),
    Load(Arc<LoadContext>),
    /// With its key and its ranges.
    Chunk(Arc<LoadContext>, Vec<String>, Vec<KeyRange>),
}

/// A file that is not written yet.
struct PlannedFile {
    /// Position of its step.
    step: usize,
    /// From 1 within the step.
    number: u32,
    context: Arc<LoadContext>,
    rows: FileRows,
}

/// What is shared between the files that are on their way.
struct Turns {
    renderers: Semaphore,
    /// Bytes that may wait for S3.
    waiting: Semaphore,
    most_waiting: u32,
}

impl Turns {
    fn new(max_file_bytes: usize) -> Self {
        let renderers = available_parallelism().map_or(1, NonZero::get).min(MOST_RENDERERS);
        let most_waiting = u32::try_from(max_file_bytes.saturating_mul(FILES_IN_WAITING)).unwrap_or(u32::MAX);
        let waiting = Semaphore::new(most_waiting as usize);
        Self { renderers: Semaphore::new(renderers), waiting, most_waiting }
    }

    /// Waits until a file of this size may wait.
    async fn wait_with(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.most_waiting);
        self.waiting.acquire_many(bytes).await.ok()
    }
}

/// A file on S3.
struct StagedFile {
    step: usize,
    file: DataFile,
    summary: FileSummary,
}

impl<S: SegmentStore> Stager<S> {
    /// Makes files of steps and uploads them. `before`: steps of the segment that were staged already.
    pub(super) async fn stage_steps(&self, before: usize, data: Vec<StepData>) -> Result<Vec<Step>> {
        let size = self.options.size;
        let (steps, files) = threads::low_priority(move || plan(before, data, size)).await?;

        let turns = Turns::new(size.max_bytes);
        let files = files.into_iter().map(|file| self.stage_file(&steps, file, &turns));
        let staged: Vec<StagedFile> =
            futures_util::stream::iter(files).buffered(OBJECTS_AT_ONCE).try_collect().await?;

        let mut staged = staged.into_iter().peekable();
        let mut with_files = Vec::with_capacity(steps.len());
        for (position, step) in steps.into_iter().enumerate() {
            let mut files = Vec::new();
            while let Some(file) = staged.next_if(|file| file.step == position) {
                files.push(file);
            }
            with_files.push((step, files));
        }
        let finished = with_files.into_iter().map(|(step, files)| self.finish_step(step, files));
        futures_util::stream::iter(finished).buffered(OBJECTS_AT_ONCE).try_collect().await
    }

    async fn stage_file(
        &self,
        steps: &[PlannedStep],
        file: PlannedFile,
        turns: &Turns,
    ) -> Result<StagedFile> {
        let PlannedFile { step, number, context, rows } = file;
        let codec = self.options.codec;
        let (rendered, _waiting) = {
            // Neither is ever closed.
            let _turn = turns.renderers.acquire().await;
            let began = SystemTime::now();
            let rendered = threads::low_priority(move || rows.render(&context, codec)).await?;
            let rendered = rendered.map_err(|error| Error::told(Who::Stream, false, &error))?;
            self.span(self.next_seq(), "render", began, |span| {
                let span = span.with("re_dms.table", steps[step].shape.source_name());
                span.with("re_dms.rows", rendered.summary.rows.total())
                    .with("re_dms.bytes", rendered.bytes.len() as u64)
            });
            let waiting = turns.wait_with(rendered.bytes.len()).await;
            (rendered, waiting)
        };
        let PlannedStep { number: step_number, shape, .. } = &steps[step];
        let key = self.segment_layout().data(
            *step_number,
            &shape.source_name(),
            number,
            &self.identity.attempt,
            codec.compression(),
        );
        let body = Bytes::from(rendered.bytes);
        let began = SystemTime::now();
        self.put(&key, &body).await?;
        self.span(self.next_seq(), "upload", began, |span| {
            span.with("re_dms.table", shape.source_name()).with("re_dms.bytes", body.len() as u64)
        });
        let rows = rendered.summary.rows.total();
        let file = DataFile { key, rows, bytes: body.len() as u64, sha256: rendered.sha256 };
        Ok(StagedFile { step, file, summary: rendered.summary })
    }

    /// Once its files are there.
    async fn finish_step(&self, step: PlannedStep, staged: Vec<StagedFile>) -> Result<Step> {
        let PlannedStep { number, shape, action } = step;
        let action = match action {
            PlannedAction::Ready(action) => *action,
            PlannedAction::Load(context) => Action::Load(self.finish_load(number, &context, staged).await?),
            PlannedAction::Chunk(context, key, ranges) => {
                let load = self.finish_load(number, &context, staged).await?;
                Action::Chunk(Chunk { key, ranges, load })
            }
        };
        Ok(Step { number, table: shape.table().clone(), action })
    }

    async fn finish_load(&self, number: u32, context: &LoadContext, staged: Vec<StagedFile>) -> Result<Load> {
        let table = &context.shape().source_name();
        let (files, summaries): (Vec<_>, Vec<_>) =
            staged.into_iter().map(|staged| (staged.file, staged.summary)).unzip();
        let copy_manifest = self.segment_layout().copy_manifest(number, table, &self.identity.attempt);
        self.put(&copy_manifest, &Bytes::from(copy_manifest_json(self.objects.bucket(), &files))).await?;
        let load = load(context, copy_manifest, (files, summaries), self.options.codec);
        count_load(self.progress.counted(), table, &load);
        self.progress.update(|state| {
            state.rows_written += load.rows.total();
            state.bytes_written += load.files.iter().map(|file| file.bytes).sum::<u64>();
        });
        Ok(load)
    }

    pub(super) async fn put(&self, key: &str, body: &Bytes) -> Result<()> {
        let _waiting = self.progress.pulse(Part::Stager).waits_for(Wait::Storage);
        upload(&self.progress, || self.objects.put(key, body.clone())).await
    }
}

/// The load that these files make. Says which values met a policy.
pub(crate) fn load(
    context: &LoadContext,
    copy_manifest: String,
    (files, summaries): (Vec<DataFile>, Vec<FileSummary>),
    codec: Codec,
) -> Load {
    let table = context.shape().source_name();
    let LoadSummary { rows, present_sets, altered } = context.summary(summaries);
    for altered in &altered {
        tracing::warn!(
            table,
            column = %altered.column,
            policy = %altered.policy,
            values = altered.values,
            "values that Redshift can't hold met a policy"
        );
    }
    Load {
        copy_manifest,
        files,
        compression: codec.compression(),
        tagged_keys: context.has_tagged_keys(),
        rows,
        present_sets,
        altered,
    }
}

fn plan(before: usize, data: Vec<StepData>, size: FileSize) -> (Vec<PlannedStep>, Vec<PlannedFile>) {
    let mut steps = Vec::with_capacity(data.len());
    let mut files = Vec::new();
    for (step, StepData { shape, action }) in data.into_iter().enumerate() {
        let action = match action {
            StepAction::Truncate => PlannedAction::Ready(Box::new(Action::Truncate)),
            StepAction::Schema(change) => PlannedAction::Ready(Box::new(Action::Schema(*change))),
            StepAction::Resync => PlannedAction::Ready(Box::new(Action::Resync)),
            StepAction::Replace(load) => PlannedAction::Ready(Box::new(Action::Replace(*load))),
            StepAction::Load(load) => {
                let (context, parts) = plan_files(step, &shape, load, size);
                files.extend(parts);
                PlannedAction::Load(context)
            }
            StepAction::Chunk(KeyedRows { key, ranges, rows }) => {
                let is_empty = rows.is_empty();
                let (context, parts) = plan_files(step, &shape, LoadData::Entries(rows), size);
                // A file has rows; the ranges may have none.
                files.extend(parts.filter(|_| !is_empty));
                PlannedAction::Chunk(context, key, ranges)
            }
        };
        let number = u32::try_from(before + step + 1).unwrap_or(u32::MAX);
        steps.push(PlannedStep { number, shape, action });
    }
    (steps, files)
}

fn plan_files(
    step: usize,
    shape: &Arc<TableShape>,
    load: LoadData,
    size: FileSize,
) -> (Arc<LoadContext>, impl Iterator<Item = PlannedFile>) {
    let (context, parts) = rows::split(Arc::clone(shape), load, size);
    let context = Arc::new(context);
    let of_files = Arc::clone(&context);
    let files = parts.into_iter().zip(1..).map(move |(rows, number)| {
        let context = Arc::clone(&of_files);
        PlannedFile { step, number, context, rows }
    });
    (context, files)
}
