//! The form of a case, and how one is run.

use std::io::Write;

use super::client::{Api, BUCKET};

/// One rule's case: steps in order.
pub(crate) struct Case {
    pub(crate) number: u8,
    pub(crate) name: &'static str,
    pub(crate) steps: &'static [Step],
}

/// `{t}` in a text stands for a name that only this case has.
pub(crate) enum Step {
    /// The statement passes.
    Ok(&'static str),
    /// It fails, and its error holds the text.
    Fails(&'static str, &'static str),
    /// It returns these rows: `1,a|2,NULL`.
    Rows(&'static str, &'static str),
    /// The batch passes.
    Batch(&'static [&'static str]),
    /// It fails, and its error holds the text.
    BatchFails(&'static [&'static str], &'static str),
    /// COPY into `{t}` of one file with so many rows. Options stand behind `FORMAT AS CSV`.
    Loads(&'static [u8], &'static str, i64),
    /// COPY of one file fails with this code, for a reason that holds the text, and loads nothing.
    LoadFails(&'static [u8], &'static str, i32, &'static str),
    /// COPY is refused before any row is read.
    CopyFails(&'static str, &'static str),
}

pub(crate) async fn run(api: &Api, case: &Case, name: &str) -> Result<(), String> {
    for step in case.steps {
        match step {
            Step::Ok(sql) => {
                api.run(&named(sql, name)).await.map_err(|error| format!("{sql}: {error}"))?;
            }
            Step::Fails(sql, words) => must_fail(sql, words, api.run(&named(sql, name)).await)?,
            Step::Rows(sql, expected) => {
                let rows = api.rows(&named(sql, name)).await.map_err(|error| format!("{sql}: {error}"))?;
                if rows != *expected {
                    return Err(format!("{sql}: {rows} instead of {expected}"));
                }
            }
            Step::Batch(sqls) => {
                let sqls: Vec<String> = sqls.iter().map(|sql| named(sql, name)).collect();
                api.batch(&sqls).await.map_err(|error| format!("{sqls:?}: {error}"))?;
            }
            Step::BatchFails(sqls, words) => {
                let named: Vec<String> = sqls.iter().map(|sql| named(sql, name)).collect();
                must_fail(&sqls.join("; "), words, api.batch(&named).await)?;
            }
            Step::Loads(file, options, rows) => {
                let described =
                    copy(api, name, file, options).await.map_err(|error| explain(file, options, &error))?;
                if described.result_rows() != *rows {
                    return Err(format!("{} rows instead of {rows}", described.result_rows()));
                }
            }
            Step::LoadFails(file, options, code, words) => {
                load_fails(api, name, file, options, *code, words).await?;
            }
            Step::CopyFails(options, words) => {
                must_fail(options, words, copy(api, name, b"1\n", options).await)?;
            }
        }
    }
    Ok(())
}

fn named(sql: &str, name: &str) -> String {
    sql.replace("{t}", name)
}

fn explain(file: &[u8], options: &str, error: &str) -> String {
    let shown: String = String::from_utf8_lossy(file).chars().take(60).collect();
    format!("{shown:?} {options}: {error}")
}

fn must_fail<T>(sql: &str, words: &str, result: Result<T, String>) -> Result<(), String> {
    match result {
        Ok(_) => Err(format!("{sql}: it passed")),
        Err(error) if error.contains(words) => Ok(()),
        Err(error) => Err(format!("{sql}: {error:?} does not hold {words:?}")),
    }
}

/// Puts a file and its manifest on S3 as the options want them, and copies it into the case's table.
async fn copy(
    api: &Api,
    table: &str,
    file: &[u8],
    options: &str,
) -> Result<aws_sdk_redshiftdata::operation::describe_statement::DescribeStatementOutput, String> {
    let number: u64 = rand::random();
    let key = format!("{table}/{number}.csv");
    let body = if options.contains("GZIP") {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(file).unwrap();
        encoder.finish().unwrap()
    } else {
        file.to_vec()
    };
    api.put(&key, body).await;
    let path = if options.contains("MANIFEST") {
        let manifest = format!(r#"{{"entries":[{{"url":"s3://{BUCKET}/{key}","mandatory":true}}]}}"#);
        api.put(&format!("{key}.manifest"), manifest.into_bytes()).await;
        format!("{key}.manifest")
    } else {
        key
    };
    api.run(&format!("COPY {table} FROM 's3://{BUCKET}/{path}' IAM_ROLE default FORMAT AS CSV {options}"))
        .await
}

async fn load_fails(
    api: &Api,
    table: &str,
    file: &[u8],
    options: &str,
    code: i32,
    words: &str,
) -> Result<(), String> {
    let before = api.rows(&format!("SELECT COUNT(*) FROM {table}")).await?;
    let Err(error) = copy(api, table, file, options).await else {
        return Err(explain(file, options, "it was loaded"));
    };
    if !error.contains(&format!("Load into table '{table}' failed")) {
        return Err(explain(file, options, &error));
    }
    // Temporary or not, the newest load error is this one.
    let newest =
        "SELECT error_code, TRIM(error_message) FROM sys_load_error_detail ORDER BY query_id DESC LIMIT 1";
    let found = api.rows(newest).await?;
    if !found.starts_with(&format!("{code},")) || !found.contains(words) {
        return Err(explain(file, options, &format!("{found} instead of {code},{words}")));
    }
    let newest = "SELECT err_code FROM stl_load_errors ORDER BY query DESC LIMIT 1";
    if api.rows(newest).await? != code.to_string() {
        return Err("stl_load_errors has another code".to_owned());
    }
    let after = api.rows(&format!("SELECT COUNT(*) FROM {table}")).await?;
    if before == after { Ok(()) } else { Err(explain(file, options, "rows were loaded")) }
}
