//! As much of Redshift as the loader's exactness hangs on: the ledger, the table log, and, for each target, which COPY
//! manifests were inserted into it, in order. SQL is taken for what the plan's golden files have, nothing more.

use std::collections::BTreeMap;

use crate::statements::Cell;

/// A row of the table log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRow {
    pub(crate) change: u64,
    pub(crate) event: String,
    pub(crate) target: String,
    pub(crate) seq: u64,
    /// epoch, bucket, key, checksum, reason, hint
    texts: [String; 6],
    replays: Option<u64>,
}

impl LogRow {
    /// Whether a condition of those that remove rows holds for it.
    fn is_meant(&self, condition: &str) -> bool {
        if condition.contains("'loaded'") {
            return self.event == "loaded"
                && self.seq <= after(condition, "\"seq\" <= ")
                && self.change < after(condition, "\"change\" < ");
        }
        let quoted = |place| condition.split('\'').nth(place).unwrap();
        self.event != "loaded"
            && self.target == format!("{}.{}", quoted(1), quoted(3))
            && self.change <= after(condition, "\"change\" <= ")
    }
}

/// What is committed, or a transaction's view of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) ledger: Option<Vec<(u64, String)>>,
    pub(crate) log: Option<Vec<LogRow>>,
    /// By target `schema.name`.
    pub(crate) inserted: BTreeMap<String, Vec<String>>,
    /// Staging tables by name, with what was copied.
    pub(crate) stages: BTreeMap<String, Option<String>>,
}

impl World {
    /// A statement by itself.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Vec<Vec<Cell>>, String> {
        let missing = |name: &str| Err(format!("ERROR: relation \"re_dms.{name}_main\" does not exist"));
        if sql.starts_with("CREATE TABLE") && sql.contains("\"tables_") {
            self.log.get_or_insert_default();
        } else if sql.starts_with("CREATE TABLE") && sql.contains("\"ledger_") {
            self.ledger.get_or_insert_default();
        } else if sql.contains("svv_tables") {
            let names = self.stages.keys().filter(|name| name.starts_with("stage."));
            return Ok(names.map(|name| vec![Cell::Text(name.clone())]).collect());
        } else if sql.starts_with("DROP TABLE") {
            self.change(sql)?;
        } else if sql.starts_with("SELECT") && sql.contains("\"tables_") {
            let Some(log) = &self.log else { return missing("tables") };
            return Ok(if sql.contains("GROUP BY") {
                ended(log)
            } else if sql.contains("'replayed'") {
                skipped(log, sql)
            } else if sql.contains("WHERE \"change\" = ") {
                placed(log, after(sql, "WHERE \"change\" = "))
            } else {
                read(log, sql)
            });
        } else if sql.starts_with("SELECT") && sql.contains("\"ledger_") {
            let Some(ledger) = &self.ledger else { return missing("ledger") };
            let cells = |(seq, sha256): &(u64, String)| {
                vec![number(*seq), Cell::Text("0/1".into()), Cell::Text(sha256.clone())]
            };
            return Ok(ledger.last().map(cells).into_iter().collect());
        }
        Ok(Vec::new())
    }

    /// Temporary tables go with their transaction.
    pub(crate) fn end_transaction(&mut self) {
        self.stages.retain(|name, _| name.starts_with("stage."));
    }

    /// A statement in a transaction.
    pub(crate) fn change(&mut self, sql: &str) -> Result<(), String> {
        let last = self.ledger.iter().flatten().next_back().map_or(0, |(seq, _)| *seq);
        let change = self.log.iter().flatten().next_back().map_or(0, |row| row.change);
        if sql.starts_with("SELECT 1 /") && sql.contains("AS \"t\"") {
            let wrong_last = sql.contains("\"last\"") && after(sql, "\"g\".\"last\" = ") != last;
            if wrong_last || after(sql, "\"t\".\"change\" = ") != change {
                return Err("ERROR: division by zero".to_owned());
            }
        } else if sql.starts_with("INSERT INTO \"re_dms\".\"ledger_") {
            let rows = tuples(sql).into_iter().map(|values| (values[1].parse().unwrap(), values[4].clone()));
            self.ledger.get_or_insert_default().extend(rows);
        } else if sql.starts_with("INSERT INTO \"re_dms\".\"tables_") {
            self.add_to_log(sql, change);
        } else if let Some(condition) = sql.strip_prefix("DELETE FROM \"re_dms\".\"tables_main\" WHERE ") {
            let past = condition.strip_prefix("\"event\" <> 'loaded' AND ");
            let goes: Vec<_> = past.unwrap_or(condition).split(" OR ").collect();
            self.log.get_or_insert_default().retain(|row| !goes.iter().any(|goes| row.is_meant(goes)));
        } else if let Some(list) = sql.strip_prefix("DROP TABLE ") {
            for name in list.split(", ") {
                let name = name.trim_start_matches("\"re_dms\".").trim_matches('"');
                self.stages.remove(name).ok_or_else(|| missing_relation(name))?;
            }
        } else if sql.starts_with("CREATE TABLE \"re_dms\".\"stage.") {
            let (stage, _) = quoted_after(sql, "\"re_dms\".");
            if self.stages.insert(stage.clone(), None).is_some() {
                return Err(format!("ERROR: relation \"{stage}\" already exists"));
            }
        } else if sql.starts_with("COPY ") {
            let (stage, rest) = quoted_after(&sql.replacen("\"re_dms\".", "", 1), "COPY ");
            let copied = rest.split_once("FROM 's3://").unwrap().1.split('\'').next().unwrap();
            if let Some(table) = rest.strip_prefix(".\"") {
                // Straight into the target.
                let target = format!("{stage}.{}", table.split('"').next().unwrap());
                self.inserted.entry(target).or_default().push(copied.to_owned());
                return Ok(());
            }
            self.stages.insert(stage, Some(copied.to_owned()));
        } else if let Some(target) = sql.strip_prefix("DELETE FROM ").filter(|rest| !rest.contains(' ')) {
            self.inserted.remove(&target.replace('"', ""));
        } else if sql.starts_with("INSERT INTO ") {
            let (schema, rest) = quoted_after(sql, "INSERT INTO ");
            let (name, rest) = quoted_after(&rest, ".");
            let (stage, _) = quoted_after(&rest.replacen("\"re_dms\".", "", 1), " FROM ");
            let copied = self.stages.get(&stage).cloned().flatten();
            let copied = copied.ok_or_else(|| missing_relation(&stage))?;
            self.inserted.entry(format!("{schema}.{name}")).or_default().push(copied);
        }
        Ok(())
    }

    fn add_to_log(&mut self, sql: &str, last_change: u64) {
        let log = self.log.get_or_insert_default();
        if !sql.contains("SELECT") {
            log.extend(tuples(sql).into_iter().map(|values| log_row(&values)));
            return;
        }
        let selected = sql.split_once("SELECT ").unwrap().1.split_once(", GETDATE()").unwrap().0;
        let mut values = split(selected);
        values[0] = (last_change + 1).to_string();
        let row = log_row(&values);
        let same =
            |known: &&LogRow| (&known.event, &known.target, known.seq) == (&row.event, &row.target, row.seq);
        if u64::try_from(log.iter().filter(same).count()).unwrap() == after(sql, "\"f\".\"n\" = ") {
            log.push(row);
        }
    }
}

fn log_row(values: &[String]) -> LogRow {
    let text = |position: usize| values[position].clone();
    LogRow {
        change: values[0].parse().unwrap(),
        event: text(1),
        target: format!("{}.{}", values[2], values[3]),
        seq: values[5].parse().unwrap(),
        texts: [text(4), text(6), text(7), text(8), text(10), text(11)],
        replays: values[9].parse().ok(),
    }
}

fn read(log: &[LogRow], sql: &str) -> Vec<Vec<Cell>> {
    let seq = after(sql, "\"seq\" >= ").max(after(sql, "\"seq\" = "));
    let last = log.last().map(|row| row.change);
    let asked = |row: &&LogRow| {
        ["quarantined", "resync", "copied", "replaced", "resumed"].contains(&row.event.as_str())
            || (row.event == "failed" && row.seq == seq)
            || (row.event == "loaded" && row.seq >= seq)
            || Some(row.change) == last
    };
    let cells = |row: &LogRow| {
        let (schema, name) = row.target.split_once('.').unwrap();
        let text = |text: &str| Cell::Text(text.to_owned());
        vec![
            number(row.change),
            text(&row.event),
            text(schema),
            text(name),
            text(&row.texts[0]),
            number(row.seq),
            text(&row.texts[4]),
            text(&row.texts[5]),
        ]
    };
    log.iter().filter(asked).map(cells).collect()
}

/// As if each quarantine that is over had ended long ago.
fn ended(log: &[LogRow]) -> Vec<Vec<Cell>> {
    let before_last = &log[..log.len().saturating_sub(1)];
    let resumed = before_last.iter().filter(|row| row.event == "resumed");
    let ended: BTreeMap<_, _> = resumed.map(|row| (row.target.as_str(), row.change)).collect();
    let cells = |(target, change): (&str, u64)| {
        let (schema, name) = target.split_once('.').unwrap();
        vec![Cell::Text(schema.to_owned()), Cell::Text(name.to_owned()), number(change)]
    };
    ended.into_iter().map(cells).collect()
}

fn skipped(log: &[LogRow], sql: &str) -> Vec<Vec<Cell>> {
    let since = after(sql, "COALESCE(MAX(\"replays\"), ");
    let name = sql.split_once("\"target_name\" = '").unwrap().1.split('\'').next().unwrap();
    let of_target = |row: &&LogRow| row.target.ends_with(&format!(".{name}"));
    let replayed = log.iter().filter(of_target).filter(|row| row.event == "replayed" && row.change > since);
    let done = replayed.filter_map(|row| row.replays).max().unwrap_or(since);
    let left = log.iter().filter(of_target).filter(|row| row.event == "skipped" && row.change > done);
    left.take(usize::try_from(after(sql, "LIMIT ")).unwrap()).map(place).collect()
}

fn placed(log: &[LogRow], change: u64) -> Vec<Vec<Cell>> {
    log.iter().filter(|row| row.change == change).map(place).collect()
}

fn place(row: &LogRow) -> Vec<Cell> {
    let text = |place: usize| Cell::Text(row.texts[place].clone());
    vec![number(row.change), text(0), number(row.seq), text(1), text(2), text(3)]
}

fn number(number: u64) -> Cell {
    Cell::Number(i64::try_from(number).unwrap())
}

/// The number behind the text; 0 if it is not there.
fn after(sql: &str, text: &str) -> u64 {
    let digits = sql.split_once(text).map_or("", |(_, rest)| rest);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

/// The quoted name behind the text, and what follows it.
fn quoted_after(sql: &str, text: &str) -> (String, String) {
    let rest = sql.split_once(&format!("{text}\"")).unwrap().1;
    let (name, rest) = rest.split_once('"').unwrap();
    (name.to_owned(), rest.to_owned())
}

fn missing_relation(name: &str) -> String {
    format!("ERROR: relation \"{name}\" does not exist")
}

/// The rows of a VALUES list.
fn tuples(sql: &str) -> Vec<Vec<String>> {
    let list = sql.split_once(" VALUES (").unwrap().1.strip_suffix(')').unwrap();
    list.split("), (").map(split).collect()
}

/// Values between commas, which no literal of a test has.
fn split(list: &str) -> Vec<String> {
    list.split(", ").map(|value| value.trim_matches('\'').to_owned()).collect()
}
