//! The source: server, role, publication, slot.

use jiff::Timestamp;
use re_dms_shared::Epoch;
use re_dms_shared::check::Finding;

use super::{clock, failed, tables};
use crate::config::Config;
use crate::credentials;
use crate::replication::{ReplicationClient, ReplicationError};
use crate::source::{ServerFacts, SlotState, Source};
use crate::tls::SslMode;

/// A sender's time-out below this ends connections over little.
const SHORT_TIMEOUT_MS: i64 = 10_000;
/// A slot that may keep less WAL than this is lost over little.
const LITTLE_WAL_MEGABYTES: i64 = 1_024;

pub(super) async fn check(config: &Config, epoch: Option<&Epoch>) -> Vec<Finding> {
    let source = match Source::connect(&config.source).await {
        Ok(source) => source,
        Err(error) => return vec![failed("source: connection", &error)],
    };
    let mut findings = vec![connection(config, &source).await];
    let facts = match source.server_facts().await {
        Ok(facts) => facts,
        Err(error) => {
            findings.push(failed("source: server", &error));
            return findings;
        }
    };
    findings.push(match source.check_server().await {
        Ok(()) => Finding::ok("source: server", format!("PostgreSQL {}, wal_level logical", facts.version)),
        Err(error) => failed("source: server", &error),
    });
    if facts.standby {
        let what = "the server is a standby, and the stream waits until it is promoted";
        findings.push(Finding::warning("source: primary", what, "let source.url lead to the primary"));
    }
    findings.push(clock("source: clock", facts.clock, Timestamp::now()));
    findings.push(replication(config, &facts).await);
    match source.slot(&config.slot.name).await {
        Ok(slot) => {
            findings.extend(slot_of(config, &source, epoch, slot.as_ref()).await);
            findings.extend(room(config, &source, &facts, slot.is_some(), epoch.is_none()).await);
        }
        Err(error) => findings.push(failed("source: slot", &error)),
    }
    findings.push(kept_wal(&facts));
    findings.push(sender_timeout(&facts));
    findings.extend(tables::check(config, &source, &facts, epoch.is_none()).await);
    findings
}

async fn connection(config: &Config, source: &Source) -> Finding {
    const ITEM: &str = "source: connection";
    let mode = credentials::connect_params(&config.source)
        .await
        .map(|params| (params.tls().mode, params.only_host().is_some()));
    match (source.is_encrypted().await, mode) {
        (Ok(true), Ok((mode, _)))
            if mode < SslMode::VerifyCa && config.source.login.tls_ca_file.is_none() =>
        {
            let what = format!("encrypted, and nobody verifies to whom (sslmode={mode})");
            Finding::warning(ITEM, what, "use sslmode=verify-full, with source.tls_ca_file if need be")
        }
        (Ok(true), Ok((mode, _))) => Finding::ok(ITEM, format!("encrypted (sslmode={mode})")),
        (Ok(false), Ok((_, true))) if !is_local(config) => {
            let what = "not encrypted, though the server is another machine";
            Finding::warning(
                ITEM,
                what,
                "set ssl = on there and leave sslmode out of source.url, unless the way is private",
            )
        }
        (Ok(false), Ok(_)) => Finding::ok(ITEM, "on this machine, not encrypted"),
        (Err(error), _) => failed(ITEM, &error),
        (_, Err(error)) => Finding::error(ITEM, error.to_string(), "see docs/configuration.md"),
    }
}

/// The URL's hosts are such that TLS is off by default.
fn is_local(config: &Config) -> bool {
    let (text, _) = crate::tls::split_mode(config.source.url.reveal());
    let parsed = text.parse::<tokio_postgres::Config>();
    parsed.is_ok_and(|parsed| SslMode::default_for(parsed.get_hosts()) == SslMode::Disable)
}

/// A replication connection is let in by lines of its own in pg_hba.conf, and takes a right of its own.
async fn replication(config: &Config, facts: &ServerFacts) -> Finding {
    const ITEM: &str = "source: replication";
    let role = &facts.role;
    if !facts.may_replicate {
        let hint =
            format!("ALTER ROLE {role} REPLICATION (on RDS and Aurora: GRANT rds_replication TO {role})");
        return Finding::error(ITEM, format!("{role} may not replicate"), hint);
    }
    let connected = async {
        let params = credentials::connect_params(&config.source).await?;
        ReplicationClient::connect(&params).await?.identify_system().await
    };
    match connected.await {
        Ok(_) => Finding::ok(ITEM, format!("{role} may read slots")),
        Err(error) => told(ITEM, &error),
    }
}

fn told(item: &str, error: &ReplicationError) -> Finding {
    let error = crate::error::Error::told(crate::error::Who::Source, error.is_transient(), error);
    failed(item, &error)
}

async fn slot_of(
    config: &Config,
    source: &Source,
    epoch: Option<&Epoch>,
    slot: Option<&SlotState>,
) -> Vec<Finding> {
    const ITEM: &str = "source: slot";
    let name = &config.slot.name;
    let again = "see docs/operations.md, hard stops: begin a new stream";
    let Some(slot) = slot else {
        return vec![match epoch {
            None => Finding::ok(ITEM, format!("{name} will be made by the first start")),
            Some(_) => Finding::error(ITEM, format!("{name} is gone, and with it the changes since"), again),
        }];
    };
    if epoch.is_none() && !config.slot.adopt {
        let what = format!("{name} exists, and this stream has never used it");
        let hint = "drop it, choose another slot.name, or set slot.adopt = true to take it from where it is";
        return vec![Finding::error(ITEM, what, hint)];
    }
    if slot.plugin.as_deref() != Some("pgoutput") {
        let what = format!("{name} is not one of pgoutput's");
        return vec![Finding::error(ITEM, what, "correct slot.name")];
    }
    if !source.database().await.is_ok_and(|database| slot.database.as_deref() == Some(&database)) {
        let what = format!("{name} belongs to another database than source.url leads to");
        return vec![Finding::error(ITEM, what, "correct slot.name or source.url")];
    }
    let facts = source.slot_facts(name).await.ok().flatten();
    let retained = facts.as_ref().map_or(0, |facts| facts.retained_bytes) >> 20;
    vec![match slot.wal_status.as_deref() {
        Some("lost") => Finding::error(
            ITEM,
            format!("{name} was invalidated: the server removed WAL that it needs"),
            again,
        ),
        Some("unreserved") => Finding::warning(
            ITEM,
            format!(
                "{name} is about to be lost: {retained} MiB of WAL are retained, more than the server wants to keep"
            ),
            "raise max_slot_wal_keep_size now, then see why the stream is behind",
        ),
        _ => {
            let active = if facts.is_some_and(|facts| facts.active) {
                "read at this moment"
            } else {
                "nobody reads it"
            };
            Finding::ok(ITEM, format!("{name} is there, {active}, {retained} MiB of WAL retained"))
        }
    }]
}

/// Are there slots and senders for what is not there yet?
async fn room(
    config: &Config,
    source: &Source,
    facts: &ServerFacts,
    has_slot: bool,
    is_new: bool,
) -> Vec<Finding> {
    // The initial copy takes one of each for a moment.
    let copies = i64::from(is_new && config.copy.enabled);
    let active = source.slot_facts(&config.slot.name).await.ok().flatten().is_some_and(|slot| slot.active);
    let slots = i64::from(!has_slot) + copies;
    let senders = if active { 0 } else { 2 + copies };
    let item = |name: &str, setting: &str, (most, used): (i64, i64), needed: i64| {
        let left = most - used;
        let what = format!("{left} of {most} left, {needed} needed");
        if left >= needed {
            Finding::ok(name, what)
        } else {
            Finding::error(
                name,
                what,
                format!("raise {setting} and restart the server, or drop what nobody needs"),
            )
        }
    };
    vec![
        item("source: slots left", "max_replication_slots", facts.slots, slots),
        item("source: senders left", "max_wal_senders", facts.senders, senders),
    ]
}

fn kept_wal(facts: &ServerFacts) -> Finding {
    const ITEM: &str = "source: max_slot_wal_keep_size";
    match facts.slot_keeps_megabytes {
        -1 => Finding::warning(
            ITEM,
            "no limit: if the stream stands still for long, the source's disk fills up",
            "set it to what the disk can spare: the slot is lost then, but the source lives; \
             slot.retained_wal_fallback = true helps against a loader that stands still",
        ),
        kept if kept < LITTLE_WAL_MEGABYTES => Finding::warning(
            ITEM,
            format!("{kept} MB: the slot is lost, and the stream with it, once it is that much behind"),
            "raise it to some hours of WAL",
        ),
        kept => Finding::ok(ITEM, format!("{kept} MB")),
    }
}

fn sender_timeout(facts: &ServerFacts) -> Finding {
    const ITEM: &str = "source: wal_sender_timeout";
    let hint =
        "the default of 60 s is fine; it can be set for the role alone (ALTER ROLE … SET wal_sender_timeout)";
    match facts.sender_timeout_ms {
        0 => Finding::warning(ITEM, "never: a connection that died keeps the slot busy", hint),
        short if short < SHORT_TIMEOUT_MS => Finding::warning(
            ITEM,
            format!("{short} ms: short pauses of the network cost the connection"),
            hint,
        ),
        fine => Finding::ok(ITEM, format!("{fine} ms")),
    }
}
