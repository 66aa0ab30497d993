//! The walk over a parsed statement: refuses what Redshift refuses, and says the rest in PostgreSQL's words, with exact
//! literals, names and types.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Distinct, Expr, Function, FunctionArguments, Ident, ObjectName,
    Query, Select, SetExpr, TableFactor, UnaryOperator, Value, ValueWithSpan, VisitorMut, WindowType,
};
use sqlparser::tokenizer::Span;

use super::SqlError;
use super::cursor::Cursor;
use super::datediff;
use super::lexer::{literal, quoted, tokens};
use super::names::{OWN_SCHEMA_PREFIX, TableName, is_reserved};
use super::query::{names_column, table_name};
use super::types::ColumnType;

/// See the module's text.
#[derive(Default)]
pub(super) struct Rewriter {
    /// How many queries may still be a bare VALUES list: the one of an INSERT.
    pub(super) values_allowed: usize,
    /// In a column's default: no columns, no subqueries.
    pub(super) variable_free: bool,
    /// The tables that were named, system tables left out. Names of a WITH are among them.
    pub(super) relations: Vec<TableName>,
}

/// Redshift's system views that the stand-in has.
const SYSTEM_VIEWS: [&str; 7] = [
    "stv_db_isolation_level",
    "svv_columns",
    "svv_tables",
    "svv_redshift_columns",
    "pg_table_def",
    "sys_load_error_detail",
    "stl_load_errors",
];

/// PostgreSQL's catalogs that Redshift has too.
const CATALOGS: [&str; 10] = [
    "pg_class",
    "pg_namespace",
    "pg_attribute",
    "pg_depend",
    "pg_rewrite",
    "pg_type",
    "pg_database",
    "pg_user",
    "pg_tables",
    "pg_views",
];

/// Reserved words that stand for values and functions.
const KEYWORDS: [&str; 14] = [
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "current_user_id",
    "default",
    "left",
    "localtime",
    "localtimestamp",
    // Of the system tables.
    "oid",
    "right",
    "session_user",
    "sysdate",
    "user",
];

/// Functions that mean the same in both databases, or are defined for the stand-in.
const FUNCTIONS: [&str; 78] = [
    "abs",
    "btrim",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "chr",
    "coalesce",
    "concat",
    "count",
    "current_database",
    "current_schema",
    "current_user",
    "date_part",
    "date_trunc",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "fnv_hash",
    "from_hex",
    "getdate",
    "greatest",
    "has_schema_privilege",
    "has_table_privilege",
    "initcap",
    "json_parse",
    "json_serialize",
    "json_serialize_to_varbyte",
    "lag",
    "last_value",
    "lead",
    "least",
    "left",
    "len",
    "length",
    "ln",
    "log",
    "lower",
    "lpad",
    "ltrim",
    "max",
    "md5",
    "min",
    "mod",
    "ntile",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "pg_backend_pid",
    "pg_last_copy_count",
    "position",
    "power",
    "random",
    "rank",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "row_number",
    "rpad",
    "rtrim",
    "sign",
    "split_part",
    "sqrt",
    "strpos",
    "strtol",
    "substr",
    "substring",
    "sum",
    "sysdate",
    "to_char",
    "to_date",
    "to_hex",
    "to_timestamp",
    "trim",
];

impl VisitorMut for Rewriter {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        outcome(self.query(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        outcome(check_select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        outcome(check_table_factor(factor))
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<SqlError> {
        outcome(system_relation(relation).and_then(|is_user| {
            if is_user {
                self.relations.push(table_name(relation)?);
            }
            Ok(())
        }))
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<SqlError> {
        outcome(self.expression(expression))
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<SqlError> {
        cut_in_bytes(expression);
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<SqlError> {
        outcome(exact_value(value))
    }

    fn pre_visit_ident(&mut self, ident: &mut Ident) -> ControlFlow<SqlError> {
        if ident.quote_style == Some('\'') {
            return outcome(syntax(&format!("'{}'", ident.value)));
        }
        if ident.quote_style.is_some() {
            *ident = verbatim(quoted(&ident.value));
        } else if ident.span != Span::empty()
            && is_reserved(&ident.value)
            && !KEYWORDS.contains(&&*ident.value)
        {
            return outcome(syntax(&ident.value));
        }
        ControlFlow::Continue(())
    }
}

fn outcome(result: Result<(), SqlError>) -> ControlFlow<SqlError> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// Text that is printed as it is.
fn verbatim(text: String) -> Ident {
    Ident { value: text, quote_style: None, span: Span::empty() }
}

fn unsupported<T>(what: &str) -> Result<T, SqlError> {
    Err(SqlError::Unsupported(what.to_owned()))
}

fn syntax<T>(near: &str) -> Result<T, SqlError> {
    Err(SqlError::Syntax(near.to_owned()))
}

impl Rewriter {
    fn query(&mut self, query: &Query) -> Result<(), SqlError> {
        if self.variable_free {
            return Err(SqlError::Refused("cannot use subquery in default expression".to_owned()));
        }
        if !query.locks.is_empty() {
            return syntax("FOR");
        }
        let foreign = query.fetch.is_some()
            || query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if foreign {
            return unsupported("this query clause");
        }
        match *query.body {
            SetExpr::Values(_) if self.values_allowed > 0 => {
                self.values_allowed -= 1;
                Ok(())
            }
            SetExpr::Values(_) => syntax("VALUES"),
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::SetOperation { .. } => Ok(()),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                unsupported("a data-modifying statement in a query")
            }
            SetExpr::Table(_) => syntax("TABLE"),
        }
    }

    fn expression(&self, expression: &mut Expr) -> Result<(), SqlError> {
        // After a dot nothing is a keyword.
        if let Expr::CompoundIdentifier(parts) = expression {
            for part in parts.iter_mut().skip(1).filter(|part| part.quote_style.is_none()) {
                *part = verbatim(quoted(&part.value));
            }
        }
        if let Expr::Identifier(name) = expression
            && name.quote_style.is_none()
            && name.value == "sysdate"
        {
            *name = verbatim(format!("{OWN_SCHEMA_PREFIX}.sysdate()"));
            return Ok(());
        }
        // PostgreSQL spells these without parentheses.
        let keyword = |ident: &Ident| ident.value.starts_with("current_") || ident.value.contains("sysdate");
        if self.variable_free
            && names_column(expression)
            && !matches!(expression, Expr::Identifier(i) if keyword(i))
        {
            return Err(SqlError::Refused("cannot use column references in default expression".to_owned()));
        }
        match expression {
            Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => syntax("DISTINCT"),
            Expr::Array(_) => syntax("ARRAY"),
            Expr::BinaryOp { op, .. } => check_operator(op),
            Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not, .. } => {
                Ok(())
            }
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, data_type, format: None, .. } => {
                translate_type(data_type)
            }
            Expr::TypedString(typed) => translate_type(&mut typed.data_type),
            Expr::Function(function) => check_function(function),
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::Tuple(_)
            | Expr::Interval(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..) => Ok(()),
            Expr::CompoundFieldAccess { .. } | Expr::JsonAccess { .. } => {
                unsupported("navigation in SUPER values")
            }
            _ => unsupported("this kind of expression"),
        }
    }
}

fn check_select(select: &Select) -> Result<(), SqlError> {
    if matches!(select.distinct, Some(Distinct::On(_))) {
        return Err(SqlError::Refused("SELECT DISTINCT ON is not supported".to_owned()));
    }
    let features = [
        (select.into.is_some(), "SELECT INTO"),
        (select.qualify.is_some(), "QUALIFY"),
        (select.top.is_some(), "TOP"),
        (select.exclude.is_some(), "EXCLUDE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (select.prewhere.is_some() || !select.lateral_views.is_empty(), "this query clause"),
        (!select.cluster_by.is_empty() || !select.distribute_by.is_empty(), "this query clause"),
        (!select.sort_by.is_empty() || select.value_table_mode.is_some(), "this query clause"),
        (select.select_modifiers.is_some(), "this query clause"),
    ];
    features.iter().find(|(used, _)| *used).map_or(Ok(()), |(_, name)| unsupported(name))
}

fn check_table_factor(factor: &TableFactor) -> Result<(), SqlError> {
    match factor {
        TableFactor::Table {
            args: None,
            version: None,
            with_ordinality: false,
            json_path: None,
            sample: None,
            with_hints,
            partitions,
            index_hints,
            ..
        } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => Ok(()),
        TableFactor::Derived { lateral: false, sample: None, .. } | TableFactor::NestedJoin { .. } => Ok(()),
        _ => unsupported("this kind of table in FROM"),
    }
}

/// Leads Redshift's system views to the stand-in's, and hides what is the stand-in's own. Says whether it is a user's table.
fn system_relation(relation: &mut ObjectName) -> Result<bool, SqlError> {
    let parts: Vec<String> =
        relation.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.clone()).collect();
    let (schema, name) = match parts.as_slice() {
        [name] => (None, name.as_str()),
        [schema, name] => (Some(schema.as_str()), name.as_str()),
        _ => return unsupported("a name of three parts"),
    };
    let own = |schema: &str| ObjectName::from(vec![verbatim(quoted(schema)), verbatim(quoted(name))]);
    match schema {
        None | Some("pg_catalog") if SYSTEM_VIEWS.contains(&name) => *relation = own(OWN_SCHEMA_PREFIX),
        None | Some("pg_catalog") if CATALOGS.contains(&name) => {}
        Some("pg_catalog") => return unsupported(&format!("the system table {name}")),
        None if name.starts_with("pg_") => return unsupported(&format!("the system table {name}")),
        Some("information_schema") if ["columns", "tables", "table_constraints"].contains(&name) => {
            *relation = own(&format!("{OWN_SCHEMA_PREFIX}_information_schema"));
        }
        Some("information_schema") => return unsupported(&format!("the view information_schema.{name}")),
        Some(schema) if schema.starts_with(OWN_SCHEMA_PREFIX) => {
            return Err(SqlError::Refused(format!("schema \"{schema}\" does not exist")));
        }
        _ => return Ok(true),
    }
    Ok(false)
}

fn check_operator(operator: &BinaryOperator) -> Result<(), SqlError> {
    use BinaryOperator as B;
    match operator {
        B::Plus | B::Minus | B::Multiply | B::Divide | B::Modulo | B::StringConcat => Ok(()),
        B::Gt | B::Lt | B::GtEq | B::LtEq | B::Eq | B::NotEq | B::And | B::Or => Ok(()),
        B::PGRegexMatch | B::PGRegexIMatch | B::PGRegexNotMatch | B::PGRegexNotIMatch => Ok(()),
        other => syntax(&other.to_string()),
    }
}

fn translate_type(data_type: &mut DataType) -> Result<(), SqlError> {
    let tokens = tokens(&data_type.to_string())?;
    let mut cursor = Cursor::new(&tokens);
    let parsed = ColumnType::parse(&mut cursor)?;
    cursor.expect_end()?;
    if matches!(parsed, ColumnType::Super | ColumnType::Varbyte(_)) {
        return unsupported(&format!("a cast to {parsed}"));
    }
    *data_type = DataType::Custom(ObjectName::from(vec![verbatim(parsed.postgres())]), Vec::new());
    Ok(())
}

fn check_function(function: &mut Function) -> Result<(), SqlError> {
    if function.filter.is_some() {
        return syntax("FILTER");
    }
    if !function.within_group.is_empty() || function.null_treatment.is_some() || function.uses_odbc_syntax {
        return unsupported("this form of a function call");
    }
    let name = function.name.to_string();
    check_window(&name, function.over.as_ref())?;
    let arguments = match &function.args {
        FunctionArguments::List(list) => list.args.len(),
        _ => 0,
    };
    if name == "concat" && arguments != 2 {
        return Err(SqlError::Refused("function concat takes two arguments".to_owned()));
    }
    if name == "nvl" {
        function.name = ObjectName::from(vec![verbatim("coalesce".to_owned())]);
    } else if name == "datediff" {
        return datediff::rewrite(function);
    } else if !FUNCTIONS.contains(&name.as_str()) {
        return unsupported(&format!("the function {name}"));
    }
    Ok(())
}

/// Window functions know no NULLS FIRST, and aggregates with an order want their frame spelt out.
fn check_window(name: &str, over: Option<&WindowType>) -> Result<(), SqlError> {
    let Some(WindowType::WindowSpec(window)) = over else { return Ok(()) };
    if window.order_by.iter().any(|order| order.options.nulls_first.is_some()) {
        return syntax("NULLS");
    }
    let aggregates = ["count", "max", "min", "sum"].contains(&name);
    if aggregates && !window.order_by.is_empty() && window.window_frame.is_none() {
        return Err(SqlError::Refused(
            "Aggregate window functions with an ORDER BY clause require a frame clause".to_owned(),
        ));
    }
    Ok(())
}

/// A cast to VARCHAR cuts at so many bytes, where PostgreSQL counts characters.
fn cut_in_bytes(expression: &mut Expr) {
    let Expr::Cast { expr, data_type: DataType::Custom(name, _), .. } = &*expression else { return };
    let name = name.to_string();
    let bytes = name.strip_prefix("varchar(").and_then(|rest| rest.strip_suffix(')'));
    let Some(bytes) = bytes else { return };
    let cut = format!("{OWN_SCHEMA_PREFIX}.cut(CAST({expr} AS text), {bytes})::varchar({bytes})");
    *expression = Expr::Nested(Box::new(Expr::Identifier(verbatim(cut))));
}

fn exact_value(value: &mut ValueWithSpan) -> Result<(), SqlError> {
    match &value.value {
        Value::SingleQuotedString(text) => {
            value.value = Value::Placeholder(literal(text));
            Ok(())
        }
        Value::Number(..) | Value::Boolean(_) | Value::Null => Ok(()),
        Value::Placeholder(name) => syntax(name),
        _ => unsupported("this form of a literal"),
    }
}
