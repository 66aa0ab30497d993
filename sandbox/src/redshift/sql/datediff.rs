//! `DATEDIFF(microsecond, a, b)`: of Redshift's dateparts the one where counting boundaries and subtracting are the same.

use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName};

use super::SqlError;
use super::names::OWN_SCHEMA_PREFIX;

/// Makes it a call of the stand-in's function, whose arguments are the two values.
pub(super) fn rewrite(function: &mut Function) -> Result<(), SqlError> {
    let FunctionArguments::List(list) = &mut function.args else {
        return Err(SqlError::Unsupported("this form of DATEDIFF".to_owned()));
    };
    let is_microsecond = |argument: &FunctionArg| {
        matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(part)))
            if part.quote_style.is_none() && part.value == "microsecond")
    };
    if list.args.len() != 3 || !is_microsecond(&list.args[0]) {
        return Err(SqlError::Unsupported("DATEDIFF of anything but microseconds".to_owned()));
    }
    list.args.remove(0);
    let name = |value: &str| Ident::new(value.to_owned());
    function.name = ObjectName::from(vec![name(OWN_SCHEMA_PREFIX), name("microseconds_between")]);
    Ok(())
}
