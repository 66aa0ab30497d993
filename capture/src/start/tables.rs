//! What can be known at the start of the tables: names that would collide in Redshift, and rules that can't be kept.

use std::collections::BTreeMap;

use re_dms_shared::names::{MAX_IDENTIFIER_BYTES, OWN_SCHEMA};
use re_dms_shared::types::{HASHED, catalog, map_column};

use crate::batch::{SourceColumn, TableShape};
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::relations::{KnownTables, layout};
use crate::source::Source;

/// A table of the publication.
#[derive(Clone, Debug)]
pub struct PublishedTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns, without generated ones.
    pub columns: Vec<SourceColumn>,
}

/// Looks at all tables that are replicated. What comes later is checked when it comes.
///
/// # Errors
/// All that would stop the stream once a table's first change arrives, in one error.
pub async fn check(config: &Config, source: &Source, known: &KnownTables) -> Result<()> {
    let tables = source.published_tables(&config.source.publication).await?;
    let mut oids: Vec<u32> =
        tables.iter().flat_map(|table| &table.columns).map(|column| column.type_oid).collect();
    oids.retain(|oid| *oid >= catalog::FIRST_UNKNOWN_OID);
    oids.sort_unstable();
    oids.dedup();
    let types = source.catalog_types(&oids).await?;
    let problems = problems(config, &tables, &types, known);
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::fatal(
        Who::Stream,
        format!(
            "{} tables or columns can't be held in Redshift as they are:\n  {}",
            problems.len(),
            problems.join("\n  ")
        ),
        "rename or exclude them (source.exclude, source.exclude_columns), map their schemas to others (target.schemas), \
         or correct the rules",
    ))
}

fn problems(
    config: &Config,
    tables: &[PublishedTable],
    types: &[catalog::Row],
    known: &KnownTables,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut targets: BTreeMap<(String, String), String> = BTreeMap::new();
    let picked = tables.iter().filter(|table| config.source.tables.picks(&table.schema, &table.name));
    for table in picked {
        let name = format!("{}.{}", table.schema, table.name);
        let target = config.target.table(&table.schema, &table.name);
        let label = format!("{}.{}", target.0, target.1);
        if target.0 == OWN_SCHEMA {
            problems.push(format!("{name} would go into {OWN_SCHEMA}, the schema of re_dms's own ledgers"));
        }
        if target.0.len().max(target.1.len()) > MAX_IDENTIFIER_BYTES {
            problems.push(format!("{name} would become {label}, longer than {MAX_IDENTIFIER_BYTES} bytes"));
        }
        if let Some(other) = targets.insert(target.clone(), name.clone()) {
            problems
                .push(format!("{other} and {name} would both become {label}, whose names are lower-case"));
        }
        problems.extend(column_problems(config, table, (&target.0, &target.1), types, known));
    }
    problems
}

fn column_problems(
    config: &Config,
    table: &PublishedTable,
    target: (&str, &str),
    types: &[catalog::Row],
    known: &KnownTables,
) -> Vec<String> {
    let configured = &config.source.columns;
    let (schema, name) = (table.schema.as_str(), table.name.as_str());
    let mut problems = Vec::new();
    let (excluded, kept): (Vec<_>, Vec<_>) =
        table.columns.iter().partition(|column| configured.is_excluded(schema, name, &column.name));
    for column in excluded.iter().filter(|column| column.key) {
        let column = &column.name;
        problems
            .push(format!("{schema}.{name}.{column} is to be left out, and it is part of the table's key"));
    }
    // Each column by itself and all of their names: a table may have several problems.
    let mut mapped = Vec::new();
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for column in kept {
        let target_column = re_dms_shared::names::target_column(&column.name);
        if let Some(other) = folded.insert(target_column.clone(), &column.name) {
            problems.push(format!(
                "{schema}.{name}.{other} and {} would both become {target_column}, whose names are lower-case",
                column.name
            ));
        }
        // Whether its type can be a key's is told when its first change comes.
        let mut alone = SourceColumn { key: false, ..column.clone() };
        if configured.is_hashed(schema, name, &column.name) {
            (alone.type_oid, alone.type_modifier) = (HASHED, -1);
        }
        let shape = TableShape::with_types(0, (schema, name), target, vec![alone], |column| {
            let rules = configured.rules(schema, name, &column.name);
            let ty = catalog::build(column.type_oid, types);
            map_column(&ty, column.type_modifier, false, &rules).map(|mapping| (mapping, rules))
        });
        match shape {
            Ok(shape) => mapped.extend(shape.columns().iter().cloned()),
            Err(error) => problems.push(error.to_string()),
        }
    }
    // What is wrong with a column was told.
    if problems.is_empty() {
        let (_, of_layout) = layout(&config.tables.of(schema, name), &mapped);
        let of_layout = of_layout.into_iter().map(|problem| format!("{schema}.{name}: [[tables]] {problem}"));
        if known.has(schema, name) {
            // It is made already: whoever drops a column on the source must not keep the stream from starting.
            of_layout.for_each(|problem| tracing::warn!("{problem}: that is passed over"));
        } else {
            problems.extend(of_layout);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: &str, name: &str, columns: &[(&str, u32)]) -> PublishedTable {
        let column = |&(name, type_oid): &(&str, u32)| SourceColumn {
            name: name.to_owned(),
            attribute_number: None,
            type_oid,
            type_modifier: -1,
            key: name == "id",
        };
        let columns = columns.iter().map(column).collect();
        PublishedTable { schema: schema.to_owned(), name: name.to_owned(), columns }
    }

    #[test]
    fn all_problems_are_told_with_their_names() {
        let config = r#"
            stream = "t"
            data_dir = "/d"
            s3.bucket = "bucket"
            queues = { segments_url = "http://q/s.fifo", acks_url = "http://q/a" }
            [source]
            url = "postgres://u@h/d"
            exclude = ["*.hidden"]
            exclude_columns = ["*.keyed.id", "*.fine.Secret"]
            [target.schemas]
            Sales = "shop"
            [[columns]]
            match = "*.typed.*"
            type = "DECIMAL(10,0)"
            [[tables]]
            match = "*.laid"
            distkey = "d"
            sortkey = ["n", "gone"]
            encode = { n = "text255" }
        "#;
        let config = Config::parse(config, vec![]).unwrap();
        let tables = [
            table("public", "fine", &[("id", 23), ("secret", 25), ("Secret", 25)]),
            table("public", "hidden", &[("a", 23), ("A", 23)]),
            table("public", "keyed", &[("id", 23)]),
            table("public", "orders", &[("a", 23), ("A", 23), ("oid", 26), ("oid_", 26)]),
            table("public", "Orders", &[("a", 23)]),
            table("public", "typed", &[("n", 23), ("t", 25), ("d", 1082)]),
            table("public", "laid", &[("n", 23), ("d", 3802), ("t", 25)]),
            table("Sales", "x", &[("a", 23)]),
            table("shop", "x", &[("a", 23)]),
            table("re_dms", "x", &[("a", 23)]),
            // A server that was built for longer names; two bytes each, so that it is one byte too long.
            table("public", &"ä".repeat(64), &[("a", 23)]),
        ];
        let nothing = KnownTables::default();
        insta::assert_snapshot!(problems(&config, &tables, &[], &nothing).join("\n"));
        let known = r#"{"format":1,"tables":[{"schema":"public","name":"laid","oid":1,"target_schema":"public",
            "target_name":"laid","columns":[]}]}"#;
        let known = KnownTables::from_json("shapes.json", known.as_bytes()).unwrap();
        let all = problems(&config, &tables, &[], &known).join("\n");
        assert!(!all.contains("public.laid"), "it is made already: {all}");
    }
}
