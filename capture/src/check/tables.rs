//! The source's tables: are they published, can their rows be told apart, may they be read, does Redshift hold them?

use std::collections::{BTreeMap, BTreeSet};

use re_dms_shared::check::Finding;
use re_dms_shared::types::{ValueClass, catalog, map_column};

use super::failed;
use crate::config::Config;
use crate::relations::KnownTables;
use crate::source::{ServerFacts, Source, TableFacts};
use crate::start;

/// Names that are told of each kind.
const NAMES: usize = 10;

pub(super) async fn check(
    config: &Config,
    source: &Source,
    server: &ServerFacts,
    is_new: bool,
) -> Vec<Finding> {
    let mut findings = vec![publication(config, source, server).await];
    let tables = match source.table_facts(&config.source).await {
        Ok(tables) => tables,
        Err(error) => {
            findings.push(failed("source: tables", &error));
            return findings;
        }
    };
    findings.push(published(config, source, &tables).await);
    findings.push(identity(&tables));
    if is_new && config.copy.enabled {
        findings.push(readable(server, &tables));
    }
    findings.push(match start::check_tables(config, source, &KnownTables::default()).await {
        Ok(()) => Finding::ok("source: names and rules", "every table and column can be held in Redshift"),
        Err(error) => failed("source: names and rules", &error),
    });
    findings.push(types(config, source).await);
    findings.push(trigger(config, source).await);
    findings
}

/// The stream's tables as they are or will be called in Redshift; none where the source can't be asked, which is told elsewhere.
pub(super) async fn targets(config: &Config) -> BTreeSet<(String, String)> {
    let asked = async {
        let source = Source::connect(&config.source).await?;
        source.table_facts(&config.source).await
    };
    let tables: Vec<TableFacts> = asked.await.unwrap_or_default();
    let target = |table: TableFacts| config.target.table(&table.schema, &table.name);
    tables.into_iter().map(target).collect()
}

async fn publication(config: &Config, source: &Source, server: &ServerFacts) -> Finding {
    const ITEM: &str = "source: publication";
    let name = &config.source.publication;
    match source.publication_facts(name).await {
        Err(error) => failed(ITEM, &error),
        Ok(None) if server.superuser || server.may_create => {
            Finding::ok(ITEM, format!("{name} will be made by the first start"))
        }
        Ok(None) => Finding::error(
            ITEM,
            format!("{name} is not there, and {} may not make it", server.role),
            "let a superuser run what `re_dms init` writes",
        ),
        Ok(Some(facts)) if !facts.all_changes => Finding::warning(
            ITEM,
            format!(
                "{name} leaves out inserts, updates, deletes or truncates: Redshift will differ from the source"
            ),
            format!("ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')"),
        ),
        Ok(Some(facts)) if !facts.via_root => Finding::warning(
            ITEM,
            format!("{name} lacks publish_via_partition_root: partitions arrive as tables of their own"),
            format!("ALTER PUBLICATION {name} SET (publish_via_partition_root = true)"),
        ),
        Ok(Some(facts)) => {
            let which =
                if facts.all_tables { "of all tables" } else { "of the tables that were put into it" };
            Finding::ok(ITEM, format!("{name}, {which}"))
        }
    }
}

/// Tables that are picked but not published would be missed silently.
async fn published(config: &Config, source: &Source, tables: &[TableFacts]) -> Finding {
    const ITEM: &str = "source: tables";
    let count = tables.len();
    let is_there =
        source.publication_facts(&config.source.publication).await.is_ok_and(|found| found.is_some());
    if !is_there {
        return Finding::ok(ITEM, "those that are there when the publication is made");
    }
    let picked = match source.tables(&config.source).await {
        Ok(picked) => picked,
        Err(error) => return failed(ITEM, &error),
    };
    let own: Vec<String> = tables
        .iter()
        .map(|table| format!("{}.{}", crate::sql::ident(&table.schema), crate::sql::ident(&table.name)))
        .collect();
    let left_out: Vec<&str> = picked.iter().filter(|name| !own.contains(name)).map(String::as_str).collect();
    if !left_out.is_empty() {
        let what = format!("{count} are replicated; picked, and not in the publication: {}", list(&left_out));
        let hint = "put them in (ALTER PUBLICATION … ADD TABLE), or leave them out by source.exclude";
        return Finding::warning(ITEM, what, hint);
    }
    if count == 0 {
        let hint = "correct source.include and source.exclude, or create the tables";
        return Finding::warning(ITEM, "none is replicated", hint);
    }
    Finding::ok(ITEM, format!("{count} are replicated"))
}

fn identity(tables: &[TableFacts]) -> Finding {
    let without = names(tables, |table| !table.has_identity);
    if without.is_empty() {
        return Finding::ok("source: identities", "every table has a key or REPLICA IDENTITY FULL");
    }
    Finding::warning(
        "source: identities",
        format!("the source refuses updates and deletes of tables without one: {}", list(&without)),
        "give them a primary key, or ALTER TABLE … REPLICA IDENTITY FULL; fine if they only ever grow",
    )
}

fn readable(server: &ServerFacts, tables: &[TableFacts]) -> Finding {
    const ITEM: &str = "source: initial copy";
    let closed = names(tables, |table| !table.may_select);
    if !closed.is_empty() {
        let hint = format!("GRANT SELECT on them (and USAGE on their schemas) TO {}", server.role);
        return Finding::error(ITEM, format!("{} may not read {}", server.role, list(&closed)), hint);
    }
    let hidden = names(tables, |table| table.has_rls && !server.bypasses_rls);
    if !hidden.is_empty() {
        let what = format!("row-level security hides rows of {} from {}", list(&hidden), server.role);
        return Finding::error(ITEM, what, format!("ALTER ROLE {} BYPASSRLS", server.role));
    }
    Finding::ok(ITEM, "all tables may be read")
}

/// Columns that may hold what Redshift can't, by the policy that they meet then.
async fn types(config: &Config, source: &Source) -> Finding {
    const ITEM: &str = "source: types";
    let read = async {
        let tables = source.published_tables(&config.source.publication).await?;
        let columns = tables.iter().flat_map(|table| &table.columns);
        let mut oids: Vec<u32> = columns.map(|column| column.type_oid).collect();
        oids.retain(|oid| *oid >= catalog::FIRST_UNKNOWN_OID);
        oids.sort_unstable();
        oids.dedup();
        let rows = source.catalog_types(&oids).await?;
        Ok::<_, crate::error::Error>((tables, rows))
    };
    let (tables, rows) = match read.await {
        Ok(read) => read,
        Err(error) => return failed(ITEM, &error),
    };
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    for table in tables.iter().filter(|table| config.source.tables.picks(&table.schema, &table.name)) {
        for column in &table.columns {
            let (schema, name) = (&table.schema, &table.name);
            let columns = &config.source.columns;
            if columns.is_excluded(schema, name, &column.name)
                || columns.is_hashed(schema, name, &column.name)
            {
                continue;
            }
            let rules = config.source.columns.rules(&table.schema, &table.name, &column.name);
            let ty = catalog::build(column.type_oid, &rows);
            let Ok(mapping) = map_column(&ty, column.type_modifier, column.key, &rules) else { continue };
            if let Some(policy) = policy(&mapping.class) {
                *met.entry(policy).or_default() += 1;
            }
        }
    }
    if met.is_empty() {
        return Finding::ok(ITEM, "Redshift holds every value of every column");
    }
    let met: Vec<_> = met.iter().map(|(policy, count)| format!("{policy} {count}")).collect();
    Finding::ok(ITEM, format!("columns that may meet a policy of [types]: {}", met.join(", ")))
}

/// The key of the policy that values without an exact form meet.
fn policy(class: &ValueClass) -> Option<&'static str> {
    Some(match class {
        ValueClass::Text => "long_text",
        ValueClass::Bytea | ValueClass::Geometry => "long_bytes",
        ValueClass::Float | ValueClass::Numeric => "nan",
        ValueClass::Decimal => "inexact_numeric",
        ValueClass::Json | ValueClass::Hstore | ValueClass::Structure(_) => "json",
        ValueClass::Date | ValueClass::Timestamp | ValueClass::TimestampTz => "date",
        _ => return None,
    })
}

async fn trigger(config: &Config, source: &Source) -> Finding {
    const ITEM: &str = "source: event trigger";
    match source.has_ddl_trigger(&config.source.publication).await {
        Ok(true) => Finding::ok(ITEM, "tells changes of tables' definitions exactly"),
        Ok(false) => Finding::ok(ITEM, "not installed: changes of definitions are found by the catalog"),
        Err(error) => failed(ITEM, &error),
    }
}

fn names(tables: &[TableFacts], condition: impl Fn(&TableFacts) -> bool) -> Vec<String> {
    let found = tables.iter().filter(|table| condition(table));
    found.map(|table| format!("{}.{}", table.schema, table.name)).collect()
}

pub(super) fn list(names: &[impl AsRef<str>]) -> String {
    let mut text = names.iter().take(NAMES).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES {
        text.push_str(&format!(" and {} more", names.len() - NAMES));
    }
    text
}
