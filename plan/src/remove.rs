//! What `re_dms destroy` takes out of Redshift: the stream's ledger and table log, and if it is asked for its tables.

use re_dms_shared::remove::RemoveRequest;
use re_dms_shared::sql::qualified;
use re_dms_shared::{ledger, table_log};

/// One transaction. Whatever is not there is gone already.
#[must_use]
pub fn statements(request: &RemoveRequest) -> Vec<String> {
    let tables = request.tables.iter().map(|table| qualified(&table.schema, &table.name));
    let records = [ledger::qualified_name(&request.stream), table_log::qualified_name(&request.stream)];
    let records = records.into_iter().filter(|_| request.records);
    tables.chain(records).map(|name| format!("DROP TABLE IF EXISTS {name}")).collect()
}

#[cfg(test)]
mod tests {
    use re_dms_shared::remove::{FORMAT, REQUEST, RemovedTable};

    use super::*;

    #[test]
    fn only_what_is_named_goes() {
        let request = |records| RemoveRequest {
            format: FORMAT,
            request: REQUEST.to_owned(),
            stream: "main".to_owned(),
            id: "a1".to_owned(),
            bucket: "bucket".to_owned(),
            answer_key: String::new(),
            tables: vec![RemovedTable { schema: "shop".to_owned(), name: "odd \"name".to_owned() }],
            records,
        };
        let table = r#"DROP TABLE IF EXISTS "shop"."odd ""name""#.to_owned();
        assert_eq!(statements(&request(false)), std::slice::from_ref(&table));
        let records = [
            r#"DROP TABLE IF EXISTS "re_dms"."ledger_main""#.to_owned(),
            r#"DROP TABLE IF EXISTS "re_dms"."tables_main""#.to_owned(),
        ];
        assert_eq!(statements(&request(true)), [&[table][..], &records].concat());
    }
}
