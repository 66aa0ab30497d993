//! SELECT, INSERT, UPDATE, DELETE, MERGE: parsed by sqlparser's Redshift dialect, checked against what that dialect takes
//! and Redshift doesn't, rewritten where the two databases differ.

use sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, Delete, Expr, FromTable, Insert, JoinOperator, Merge,
    MergeAction, MergeClauseKind, MergeUpdateKind, ObjectName, Query, SetExpr, Statement, TableFactor,
    TableObject, TableWithJoins, Update, UpdateTableFromKind, VisitMut,
};
use sqlparser::dialect::RedshiftSqlDialect;
use sqlparser::parser::{Parser, ParserError};

use super::SqlError;
use super::command::Command;
use super::cursor::Cursor;
use super::lexer::{self, Token};
use super::names::TableName;
use super::rewrite::Rewriter;
use super::touched::{Touched, Write};

pub(super) fn select(tokens: &[Token]) -> Result<Command, SqlError> {
    let (sql, reads) = translate_query(tokens)?;
    Ok(Command::Query { sql, touched: Touched::reads(reads) })
}

/// A query as part of another statement, and the tables that it reads.
pub(super) fn translate_query(tokens: &[Token]) -> Result<(String, Vec<TableName>), SqlError> {
    match statement(tokens)? {
        Statement::Query(mut query) => {
            let reads = rewrite(&mut *query, Rewriter::default())?;
            Ok((query.to_string(), reads))
        }
        _ => Err(first_token(tokens)),
    }
}

/// A column's default: no subquery, no column.
pub(super) fn translate_expression(tokens: &[Token]) -> Result<String, SqlError> {
    let mut parser = parser(tokens)?;
    let mut expression = parser.parse_expr().map_err(|error| syntax(&error))?;
    let unread = parser.peek_token();
    if unread.token != sqlparser::tokenizer::Token::EOF {
        return Err(SqlError::Syntax(unread.token.to_string()));
    }
    rewrite(&mut expression, Rewriter { variable_free: true, ..Rewriter::default() })?;
    Ok(expression.to_string())
}

/// `CREATE [OR REPLACE] VIEW`, read on after CREATE.
pub(super) fn create_view(cursor: &mut Cursor<'_>) -> Result<Command, SqlError> {
    let replace = if cursor.eat(&["or", "replace"]) { "OR REPLACE " } else { "" };
    cursor.expect(&["view"])?;
    let name = cursor.table()?;
    let columns = if cursor.sees_symbol("(") {
        let columns: Vec<String> = cursor.column_list()?.iter().map(|name| lexer::quoted(name)).collect();
        format!(" ({})", columns.join(", "))
    } else {
        String::new()
    };
    cursor.expect(&["as"])?;
    let query = cursor.take_until(|_| false)?;
    if query.windows(2).any(|pair| Cursor::new(pair).sees(&["no", "schema"])) {
        return Err(SqlError::Unsupported("WITH NO SCHEMA BINDING".to_owned()));
    }
    let (query, reads) = translate_query(query)?;
    let sql = format!("CREATE {replace}VIEW {name}{columns} AS {query}");
    Ok(Command::Utility { sql, touched: Touched::reads(reads) })
}

pub(super) fn insert(tokens: &[Token]) -> Result<Command, SqlError> {
    let Statement::Insert(mut insert) = statement(tokens)? else { return Err(first_token(tokens)) };
    check_insert(&insert)?;
    let name = match &insert.table {
        TableObject::TableName(name) => table_name(name)?,
        _ => return Err(first_token(tokens)),
    };
    let rows = insert.source.as_deref().is_some_and(is_values);
    let mut reads =
        rewrite(&mut insert, Rewriter { values_allowed: usize::from(rows), ..Rewriter::default() })?;
    // The target is only read where it stands a second time.
    if let Some(position) = reads.iter().position(|read| *read == name) {
        reads.remove(position);
    }
    Ok(change(Statement::Insert(insert).to_string(), name, Write::Append, reads))
}

fn change(sql: String, table: TableName, write: Write, reads: Vec<TableName>) -> Command {
    let shown = table.name.clone();
    Command::Change { sql, table: shown, touched: Touched::writes(table, write, reads) }
}

fn is_values(query: &Query) -> bool {
    matches!(*query.body, SetExpr::Values(_))
}

fn check_insert(insert: &Insert) -> Result<(), SqlError> {
    if insert.on.is_some() {
        return Err(SqlError::Syntax("ON".to_owned()));
    }
    if insert.returning.is_some() {
        return Err(SqlError::Syntax("RETURNING".to_owned()));
    }
    if let Some(alias) = &insert.table_alias {
        return Err(SqlError::Syntax(alias.alias.value.clone()));
    }
    let foreign = !insert.into
        || insert.or.is_some()
        || insert.ignore
        || insert.overwrite
        || insert.has_table_keyword
        || insert.replace_into
        || insert.priority.is_some()
        || insert.insert_alias.is_some()
        || insert.partitioned.is_some()
        || insert.output.is_some()
        || insert.multi_table_insert_type.is_some()
        || !insert.assignments.is_empty()
        || !insert.after_columns.is_empty();
    if foreign { Err(SqlError::Syntax("INSERT".to_owned())) } else { Ok(()) }
}

pub(super) fn update(tokens: &[Token]) -> Result<Command, SqlError> {
    let Statement::Update(mut update) = statement(tokens)? else { return Err(first_token(tokens)) };
    check_update(&update)?;
    let table = target(&update.table)?;
    check_assignments(&update.assignments, &table.name)?;
    let reads = rewrite(&mut update, Rewriter::default())?;
    Ok(change(Statement::Update(update).to_string(), table, Write::Change, reads))
}

fn check_update(update: &Update) -> Result<(), SqlError> {
    if update.returning.is_some() {
        return Err(SqlError::Syntax("RETURNING".to_owned()));
    }
    match &update.from {
        Some(UpdateTableFromKind::BeforeSet(_)) => return Err(SqlError::Syntax("FROM".to_owned())),
        Some(UpdateTableFromKind::AfterSet(from))
            if from.iter().flat_map(|table| &table.joins).any(|join| is_outer(&join.join_operator)) =>
        {
            return Err(SqlError::Refused("Target table must be part of an equijoin predicate".to_owned()));
        }
        Some(UpdateTableFromKind::AfterSet(_)) | None => {}
    }
    let foreign = update.or.is_some()
        || update.output.is_some()
        || update.limit.is_some()
        || !update.order_by.is_empty();
    if foreign { Err(SqlError::Syntax("UPDATE".to_owned())) } else { Ok(()) }
}

fn is_outer(operator: &JoinOperator) -> bool {
    !matches!(operator, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
}

/// Columns to set stand without their table's name.
fn check_assignments(assignments: &[Assignment], table: &str) -> Result<(), SqlError> {
    for assignment in assignments {
        match &assignment.target {
            AssignmentTarget::ColumnName(name) if name.0.len() == 1 => {}
            AssignmentTarget::ColumnName(name) => {
                let qualifier = name.0.first().and_then(|part| part.as_ident()).map(|ident| &ident.value);
                return Err(SqlError::Refused(format!(
                    "column \"{}\" of relation \"{table}\" does not exist",
                    qualifier.map_or("", String::as_str)
                )));
            }
            AssignmentTarget::Tuple(_) => return Err(SqlError::Syntax("(".to_owned())),
        }
    }
    Ok(())
}

pub(super) fn delete(tokens: &[Token]) -> Result<Command, SqlError> {
    let Statement::Delete(mut delete) = statement(tokens)? else { return Err(first_token(tokens)) };
    let table = check_delete(&delete)?;
    let reads = rewrite(&mut delete, Rewriter::default())?;
    if let FromTable::WithoutKeyword(tables) = delete.from {
        delete.from = FromTable::WithFromKeyword(tables);
    }
    Ok(change(Statement::Delete(delete).to_string(), table, Write::Change, reads))
}

fn check_delete(delete: &Delete) -> Result<TableName, SqlError> {
    if delete.returning.is_some() {
        return Err(SqlError::Syntax("RETURNING".to_owned()));
    }
    let tables = match &delete.from {
        FromTable::WithFromKeyword(tables) => tables,
        FromTable::WithoutKeyword(_) if delete.using.is_some() => {
            return Err(SqlError::Syntax("USING".to_owned()));
        }
        FromTable::WithoutKeyword(tables) => tables,
    };
    let foreign = !delete.tables.is_empty()
        || delete.output.is_some()
        || delete.limit.is_some()
        || !delete.order_by.is_empty();
    match tables.as_slice() {
        [table] if !foreign => {
            if let TableFactor::Table { alias: Some(alias), .. } = &table.relation {
                return Err(SqlError::Syntax(alias.name.value.clone()));
            }
            target(table)
        }
        _ => Err(SqlError::Syntax("DELETE".to_owned())),
    }
}

pub(super) fn merge(tokens: &[Token]) -> Result<Command, SqlError> {
    if tokens.windows(2).any(|pair| Cursor::new(pair).sees(&["remove", "duplicates"])) {
        return Err(SqlError::Unsupported("MERGE … REMOVE DUPLICATES".to_owned()));
    }
    let Statement::Merge(mut merge) = statement(tokens)? else { return Err(first_token(tokens)) };
    let table = check_merge(&merge)?;
    let reads = rewrite(&mut merge, Rewriter::default())?;
    Ok(change(Statement::Merge(merge).to_string(), table, Write::Change, reads))
}

fn check_merge(merge: &Merge) -> Result<TableName, SqlError> {
    let table = match &merge.table {
        TableFactor::Table { alias: Some(alias), .. } => {
            return Err(SqlError::Syntax(alias.name.value.clone()));
        }
        TableFactor::Table { name, .. } => table_name(name)?,
        _ => return Err(SqlError::Syntax("MERGE".to_owned())),
    };
    check_merge_source(&merge.source, &table)?;
    check_match(&merge.on)?;
    if !merge.into || merge.output.is_some() {
        return Err(SqlError::Syntax("MERGE".to_owned()));
    }
    let (mut matched, mut unmatched) = (0, 0);
    for clause in &merge.clauses {
        if clause.predicate.is_some() {
            return Err(SqlError::Syntax("AND".to_owned()));
        }
        match (clause.clause_kind, &clause.action) {
            (MergeClauseKind::Matched, MergeAction::Delete { .. }) => matched += 1,
            (MergeClauseKind::Matched, MergeAction::Update(update)) => {
                match &update.kind {
                    MergeUpdateKind::Set(assignments) => check_assignments(assignments, &table.name)?,
                    MergeUpdateKind::Wildcard => return Err(SqlError::Syntax("*".to_owned())),
                }
                matched += 1;
            }
            (MergeClauseKind::NotMatched, MergeAction::Insert(_)) => unmatched += 1,
            _ => return Err(SqlError::Syntax(clause.clause_kind.to_string())),
        }
    }
    if matched == 1 && unmatched == 1 {
        Ok(table)
    } else {
        Err(SqlError::Refused(
            "MERGE requires exactly one WHEN MATCHED and one WHEN NOT MATCHED clause".to_owned(),
        ))
    }
}

/// The source is another table, or a query that does not read the target.
fn check_merge_source(source: &TableFactor, target: &TableName) -> Result<(), SqlError> {
    match source {
        TableFactor::Table { name, .. } => {
            if table_name(name)?.name != target.name {
                return Ok(());
            }
            Err(SqlError::Refused("Source table and target table in Merge must not be the same.".to_owned()))
        }
        TableFactor::Derived { subquery, .. } => {
            let reads = rewrite(&mut subquery.clone(), Rewriter::default())?;
            if reads.iter().all(|read| read.name != target.name) {
                return Ok(());
            }
            Err(SqlError::Refused(
                "Source view/subquery in Merge statement cannot reference target table.".to_owned(),
            ))
        }
        _ => Err(SqlError::Syntax("USING".to_owned())),
    }
}

/// Rows are matched by equalities, and by nothing else.
fn check_match(on: &Expr) -> Result<(), SqlError> {
    match on {
        Expr::Nested(inner) => check_match(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            check_match(left).and_then(|()| check_match(right))
        }
        Expr::BinaryOp { op: BinaryOperator::Eq, .. } => Ok(()),
        _ => Err(SqlError::Unsupported("a MERGE condition that is more than equalities".to_owned())),
    }
}

/// The one table that a statement changes.
fn target(table: &TableWithJoins) -> Result<TableName, SqlError> {
    match &table.relation {
        TableFactor::Table { name, .. } if table.joins.is_empty() => table_name(name),
        _ => Err(SqlError::Syntax("JOIN".to_owned())),
    }
}

/// `[schema.]table`
pub(super) fn table_name(name: &ObjectName) -> Result<TableName, SqlError> {
    let parts: Vec<String> =
        name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.clone()).collect();
    match parts.as_slice() {
        [table] => TableName::new(None, table.clone()),
        [schema, table] => TableName::new(Some(schema.clone()), table.clone()),
        _ => Err(SqlError::Unsupported("a name of three parts".to_owned())),
    }
}

fn parser(tokens: &[Token]) -> Result<Parser<'static>, SqlError> {
    Parser::new(&RedshiftSqlDialect {}).try_with_sql(&lexer::render(tokens)).map_err(|error| syntax(&error))
}

fn statement(tokens: &[Token]) -> Result<Statement, SqlError> {
    let mut parser = parser(tokens)?;
    let statement = parser.parse_statement().map_err(|error| syntax(&error))?;
    let unread = parser.peek_token();
    if unread.token == sqlparser::tokenizer::Token::EOF {
        Ok(statement)
    } else {
        Err(SqlError::Syntax(unread.token.to_string()))
    }
}

/// Returns the tables that are named.
fn rewrite(node: &mut impl VisitMut, mut rewriter: Rewriter) -> Result<Vec<TableName>, SqlError> {
    match node.visit(&mut rewriter) {
        std::ops::ControlFlow::Continue(()) => Ok(rewriter.relations),
        std::ops::ControlFlow::Break(error) => Err(error),
    }
}

/// sqlparser says `Expected: …, found: X at Line: …`; Redshift names X.
fn syntax(error: &ParserError) -> SqlError {
    let text = error.to_string();
    let found = text.rsplit_once("found: ").map_or(text.as_str(), |(_, found)| found);
    let near = found.split_once(" at Line").map_or(found, |(near, _)| near);
    if near == "EOF" {
        return SqlError::Refused("syntax error at end of input".to_owned());
    }
    SqlError::Syntax(near.to_owned())
}

fn first_token(tokens: &[Token]) -> SqlError {
    SqlError::Syntax(tokens.first().map_or_else(String::new, Token::shown))
}

/// Whether an expression names a column, which a default must not.
pub(super) fn names_column(expression: &Expr) -> bool {
    matches!(expression, Expr::CompoundIdentifier(_) | Expr::Identifier(_))
}
