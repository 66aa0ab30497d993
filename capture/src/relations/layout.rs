//! What the configuration says of how a table lies in Redshift, in Redshift's names.

use re_dms_shared::manifest::{Column, Distribution, Layout, can_be_layout_key};
use re_dms_shared::types::RedshiftType;

use crate::config::{TableRules, WantedDistribution};

/// Redshift's limit of columns in a sort key.
const MOST_SORT_COLUMNS: usize = 400;

/// The layout of a table with these columns, and what of it can't be: that part is left out.
pub fn layout(rules: &TableRules, columns: &[Column]) -> (Layout, Vec<String>) {
    let mut problems = Vec::new();
    let find = |rule: &str, name: &str| {
        let found = columns.iter().find(|column| column.name == name);
        found.ok_or_else(|| format!("{rule} names the column {name}, which it does not have"))
    };
    let layout_key = |rule: &str, name: &str| {
        let column = find(rule, name)?;
        if can_be_layout_key(column.redshift_type) {
            return Ok(column.target_name.clone());
        }
        Err(format!("{rule} names the column {name}, and Redshift takes no {} there", column.redshift_type))
    };
    let distribution = match &rules.distribution {
        WantedDistribution::Auto => Distribution::Auto,
        WantedDistribution::Even => Distribution::Even,
        WantedDistribution::All => Distribution::All,
        WantedDistribution::Key(name) => match layout_key("distkey", name) {
            Ok(column) => Distribution::Key(column),
            Err(problem) => {
                problems.push(problem);
                Distribution::Auto
            }
        },
    };
    let mut sort_key: Vec<String> = Vec::new();
    let mut sort_problems = Vec::new();
    for name in &rules.sort_key {
        match layout_key("sortkey", name) {
            Ok(column) if sort_key.contains(&column) => {
                sort_problems.push(format!("sortkey names the column {name} twice"));
            }
            Ok(column) => sort_key.push(column),
            Err(problem) => sort_problems.push(problem),
        }
    }
    if sort_key.len() > MOST_SORT_COLUMNS {
        sort_problems.push(format!("sortkey has more than {MOST_SORT_COLUMNS} columns"));
    }
    if !sort_problems.is_empty() {
        // A key without its first column is another one.
        sort_key.clear();
        problems.append(&mut sort_problems);
    }
    let mut layout = Layout { distribution, sort_key, primary_key: rules.primary_key, ..Layout::default() };
    for (name, encoding) in &rules.encodings {
        let column = match find("encode", name) {
            Ok(column) => column,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let ty = column.redshift_type;
        let may_grow = matches!(ty, RedshiftType::Varchar(bytes) if bytes < u16::MAX);
        if !encoding.takes(ty) {
            problems
                .push(format!("encode gives the column {name} {encoding}, which Redshift has not for {ty}"));
        } else if encoding.keeps_from_widening() && may_grow {
            problems.push(format!(
                "encode gives the column {name} {encoding}, with which Redshift can't widen its {ty} any more"
            ));
        } else {
            layout.encodings.insert(column.target_name.clone(), *encoding);
        }
    }
    (layout, problems)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use re_dms_shared::manifest::Encoding;

    use super::*;

    fn columns() -> Vec<Column> {
        let column = |name: &str, ty: &str| Column {
            name: name.into(),
            attribute_number: None,
            type_oid: 0,
            type_modifier: -1,
            target_name: name.to_ascii_lowercase(),
            redshift_type: ty.parse().unwrap(),
            key: false,
        };
        vec![column("Id", "BIGINT"), column("doc", "SUPER"), column("note", "VARCHAR(40)")]
    }

    fn rules(distkey: &str, sort_key: &[&str], encodings: &[(&str, Encoding)]) -> TableRules {
        TableRules {
            distribution: WantedDistribution::Key(distkey.into()),
            sort_key: sort_key.iter().map(|name| (*name).to_owned()).collect(),
            encodings: encodings.iter().map(|(name, encoding)| ((*name).to_owned(), *encoding)).collect(),
            ..TableRules::default()
        }
    }

    #[test]
    fn names_become_redshifts() {
        let (found, problems) = layout(&rules("Id", &["note", "Id"], &[("doc", Encoding::Zstd)]), &columns());
        assert_eq!(problems, [""; 0]);
        let expected = Layout {
            distribution: Distribution::Key("id".into()),
            sort_key: vec!["note".into(), "id".into()],
            encodings: BTreeMap::from([("doc".into(), Encoding::Zstd)]),
            primary_key: false,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_redshift_refuses_is_told_and_left_out() {
        let encodings = [("Id", Encoding::Text255), ("gone", Encoding::Raw), ("note", Encoding::Bytedict)];
        let (found, problems) = layout(&rules("doc", &["Id", "Id", "id"], &encodings), &columns());
        assert!(found.is_auto(), "{found:?}");
        insta::assert_snapshot!(problems.join("\n"));
    }
}
