//! Loading from S3 what was loaded before: into the same place after Redshift was set back, or as a stream of its own, with a
//! ledger of its own, into another schema or another warehouse (ADR 18). PostgreSQL is not asked.
//!
//! [`survey`] reads the history and says what is needed and whether it is there; [`derive`] makes the other stream's
//! segments, which name the same files; [`drive`] has them loaded.

mod base;
mod derive;
mod drive;
mod feed;
mod record;
mod survey;

use std::collections::BTreeSet;

use futures_util::stream::StreamExt as _;
use re_dms_shared::Lsn;
use re_dms_shared::names::OWN_SCHEMA;

use crate::aws::{self, AckQueue, Queues};
use crate::config::{Config, QueueConfig};
use crate::error::{Error, Result, Who};
use crate::segments::{Archive, Expendable, Point, TablePick};
pub(crate) use base::Base;
use drive::Driver;
pub use drive::Watch;
use feed::{DerivedFeed, Feed, OwnFeed};
use record::ReplayRecord;
pub(crate) use survey::Survey;

/// What is to be replayed, and where to.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Not from the beginning, but from the segment that holds this point on. In place the ledger says from where.
    pub from: Option<Point>,
    /// No more than up to this point.
    pub to: Option<Point>,
    /// Only these tables.
    pub tables: TablePick,
    /// All tables go into this schema.
    pub into: Option<String>,
    /// The name of the stream that the replay is.
    pub stream: Option<String>,
    /// Another warehouse's segment queue.
    pub queue_url: Option<String>,
    /// Nothing is loaded, only said.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The stream whose ledger has it.
    pub stream: String,
    /// The last segment of the history that is in.
    pub up_to: u64,
    /// Where that one ends.
    pub end_lsn: Lsn,
    /// Segments that were loaded by this command.
    pub segments: u64,
    /// Rows in their files.
    pub rows: u64,
}

/// Replays, and waits for the end.
///
/// # Errors
/// If what is needed is not on S3, if the request contradicts itself, or if the loader can't load it. What was loaded stays, and
/// the same request goes on there.
pub async fn replay(config: &Config, request: &Request, watch: &mut impl Watch) -> Result<Done> {
    let archive = Archive::open(config).await?;
    match own_name(config, request)? {
        Some(name) => replay_aside(config, &archive, request, &name, watch).await,
        None => replay_in_place(config, &archive, request, watch).await,
    }
}

fn refused(what: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::fatal(Who::Stream, what, hint)
}

/// The replay's name as a stream; none if it goes into the stream's own tables.
fn own_name(config: &Config, request: &Request) -> Result<Option<String>> {
    let queue = request.queue_url.as_deref().filter(|url| *url != config.queues.segments_url);
    match (&request.into, &request.stream) {
        (None, None) if queue.is_some() => Err(refused(
            "another warehouse needs a ledger of its own",
            "name the stream that the replay is: --stream NAME",
        )),
        (None, None) if !request.tables.is_all() => Err(refused(
            "in place all tables are replayed: the ledger knows whole segments",
            "add --into SCHEMA for single tables; `re_dms tables resync` brings one back in place",
        )),
        (None, None) if request.from.is_some() => Err(refused(
            "in place the ledger says from where",
            "leave --from away, or replay aside with --into SCHEMA",
        )),
        (None, None) => Ok(None),
        (None, Some(_)) if queue.is_none() => Err(refused(
            "without --into the tables would be those of the live stream",
            "give --into SCHEMA, or with --queue URL the segment queue of another warehouse",
        )),
        (_, Some(name)) if *name == config.stream => {
            Err(refused(format!("{name} is the stream itself"), "give the replay another --stream NAME"))
        }
        (_, Some(name)) => plain(name).map(Some),
        (Some(schema), None) => {
            plain(&format!("{}_{}", config.stream, schema.to_ascii_lowercase())).map(Some)
        }
    }
}

/// Names of streams go unquoted into S3 keys and names of tables.
fn plain(name: &str) -> Result<String> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    if starts && name.len() <= 40 && name.bytes().all(letters) {
        return Ok(name.to_owned());
    }
    Err(refused(
        format!("{name} can't be a stream's name"),
        "give --stream NAME: lower-case letters, digits and underscores, begins with a letter, at most 40 long",
    ))
}

/// As a stream of its own, whose segments are the history's with other targets.
async fn replay_aside(
    config: &Config,
    archive: &Archive,
    request: &Request,
    name: &str,
    watch: &mut impl Watch,
) -> Result<Done> {
    let to = Survey::end(archive, request).await?;
    let base = Base::find(archive, request, to).await?;
    let survey = Survey::make(archive, request, to, &base).await?;
    refuse_own_targets(request, &survey)?;
    if survey.oids.is_empty() {
        let hint = "`re_dms segments list --table …` shows where tables are; names are the source's";
        return Err(refused("no segment up to there concerns these tables", hint));
    }
    tell_expendable(archive, &survey, &base, watch).await?;
    watch.begins(survey.first, survey.to, survey.rows, survey.bytes);
    if request.dry_run {
        return Ok(Done {
            stream: name.to_owned(),
            up_to: survey.to,
            end_lsn: survey.end_lsn,
            ..Done::default()
        });
    }
    let record = ReplayRecord::new(archive, request, name, &base, &survey);
    record.write(archive, config).await?;
    let derivation = survey.derivation(name, request.into.as_deref(), &base);
    let origins = base.origins(archive, survey.first).boxed_local();
    let feed = DerivedFeed::new(config, archive, name, derivation, (origins, survey.to)).await?;
    let queue_url = request.queue_url.as_ref().unwrap_or(&config.queues.segments_url);
    let done = drive(config, queue_url, feed, watch).await?;
    Ok(Done { up_to: survey.to, end_lsn: survey.end_lsn, ..done })
}

/// Nothing of the live stream may be touched.
fn refuse_own_targets(request: &Request, survey: &Survey) -> Result<()> {
    let Some(into) = request.into.as_ref().map(|schema| schema.to_ascii_lowercase()) else { return Ok(()) };
    if into == OWN_SCHEMA || into.is_empty() {
        return Err(refused(
            format!("the schema {into:?} can't be replayed into"),
            "give --into another schema",
        ));
    }
    let same_warehouse = request.queue_url.is_none();
    if same_warehouse && survey.target_schemas.contains(&into) {
        return Err(refused(
            format!("the schema {into} holds tables of the live stream"),
            "give --into a schema that is new",
        ));
    }
    Ok(())
}

/// The stream's own segments, announced once more: the loader takes those that the ledger lacks.
async fn replay_in_place(
    config: &Config,
    archive: &Archive,
    request: &Request,
    watch: &mut impl Watch,
) -> Result<Done> {
    let bounds = archive.history().range().await?;
    let last_known = bounds.map_or(0, |(_, last)| last);
    let to = Survey::end(archive, request).await?.unwrap_or(last_known).min(last_known);
    if to == 0 {
        return Err(refused("no segment is on S3 up to there", "`re_dms segments list` shows what is"));
    }
    let mut feed = OwnFeed::new(archive, to);
    let asked = ask(config, &mut feed, to).await?;
    let end_lsn = archive.history().segment(to).await?.map_or(Lsn(0), |segment| segment.manifest.end_lsn);
    let all_in = Done { stream: archive.stream.clone(), up_to: to, end_lsn, ..Done::default() };
    let Some(from) = asked else { return Ok(all_in) };
    let base = Base::in_place(archive, from, to).await?;
    let survey = Survey::make(archive, request, Some(to), &base).await?;
    tell_expendable(archive, &survey, &base, watch).await?;
    watch.begins(survey.first, survey.to, survey.rows, survey.bytes);
    if request.dry_run {
        return Ok(all_in);
    }
    match base.checkpoint() {
        Some(checkpoint) => feed.begin_with(checkpoint).await?,
        None => feed.begin_at(from),
    }
    let done = drive(config, &config.queues.segments_url, feed, watch).await?;
    Ok(Done { up_to: to, end_lsn, ..done })
}

/// What is there now need not be there for as long as the replay takes.
async fn tell_expendable(
    archive: &Archive,
    survey: &Survey,
    base: &Base,
    watch: &mut impl Watch,
) -> Result<()> {
    let Archive { objects, layout, epoch, .. } = archive;
    let known = Expendable::read(objects, layout, epoch).await?;
    let has_old_base = base.checkpoint().is_some_and(|base| base.seq < known.checkpoints);
    if has_old_base || survey.first <= known.up_to {
        watch.trouble(&format!(
            "segments up to {} are tagged as expendable: the bucket may remove what this replay needs at any moment",
            known.up_to
        ));
    }
    Ok(())
}

/// What the loader says to a segment: the first that the ledger lacks, none if this one is in.
async fn ask(config: &Config, feed: &mut OwnFeed<'_>, seq: u64) -> Result<Option<u64>> {
    with_answers(config, &config.queues.segments_url, async |queues, acks_url| {
        drive::ask(queues, feed, seq, acks_url).await
    })
    .await
}

async fn drive<F: Feed>(config: &Config, queue_url: &str, feed: F, watch: &mut impl Watch) -> Result<Done> {
    with_answers(config, queue_url, async |queues, acks_url| {
        Driver::new(queues, feed, acks_url, config.queues.resend_after).run(watch).await
    })
    .await
}

/// Answers come to a queue of their own: the capture's must not be taken away.
async fn with_answers<T>(
    config: &Config,
    queue_url: &str,
    work: impl AsyncFnOnce(Queues, String) -> Result<T>,
) -> Result<T> {
    let sdk = aws::sdk_config(&config.aws).await;
    let acks = AckQueue::create(&sdk, &config.queues.acks_url).await?;
    let queues = QueueConfig {
        segments_url: queue_url.to_owned(),
        acks_url: acks.url.clone(),
        resend_after: config.queues.resend_after,
    };
    let outcome = work(Queues::new(&sdk, &queues), acks.url.clone()).await;
    acks.remove().await;
    outcome
}

/// Tables by the source's identity.
pub(crate) type Oids = BTreeSet<u32>;

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let toml = "stream = \"main\"\ndata_dir = \"d\"\nsource.url = \"postgres://u@h/d\"\ns3.bucket = \"bucket\"\n\
            queues = { segments_url = \"http://h/1/s.fifo\", acks_url = \"http://h/1/a\" }\n";
        Config::parse(toml, Vec::new()).unwrap()
    }

    #[test]
    fn a_replay_never_shares_the_live_streams_tables() {
        let own = |into: &str, stream: &str, queue: &str, table: &str| {
            let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let request = Request {
                into: given(into),
                stream: given(stream),
                queue_url: given(queue),
                tables: TablePick::parse(&given(table).into_iter().collect::<Vec<_>>()).unwrap(),
                ..Request::default()
            };
            own_name(&config(), &request).map_err(|error| error.what)
        };
        assert_eq!(own("", "", "", ""), Ok(None));
        assert_eq!(own("Past", "", "", "public.t"), Ok(Some("main_past".into())));
        assert_eq!(own("past", "tuesday", "", ""), Ok(Some("tuesday".into())));
        assert_eq!(own("", "copy", "http://h/1/other.fifo", ""), Ok(Some("copy".into())));
        for (into, stream, queue, table) in [
            ("", "copy", "", ""),
            ("", "copy", "http://h/1/s.fifo", ""),
            ("past", "main", "", ""),
            ("", "", "http://h/1/other.fifo", ""),
            ("", "", "", "public.t"),
            ("is this", "", "", ""),
        ] {
            assert!(own(into, stream, queue, table).is_err(), "{into} {stream} {queue} {table}");
        }
    }
}
