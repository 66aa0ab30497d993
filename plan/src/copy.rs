//! Staging: a temporary table that looks like the files, COPY into it, and the proof that all rows came. An initial copy
//! needs none: its files look like the target.

use re_dms_shared::manifest::{
    COPIES_COLUMN, Column, Load, OPERATION_COLUMN, PRESENT_SET_COLUMN, REMOVAL_COLUMN, Table, old_key_column,
};
use re_dms_shared::names::OWN_SCHEMA;
use re_dms_shared::sql::{ident, qualified};

use super::{PlanError, PlannedStep, Purpose, Staging, Statements, tables, tagged_keys};

/// How COPY gets at the files.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CopySettings {
    /// Role ARNs; none for the cluster's default role.
    pub role: Option<String>,
    /// The bucket's Region, if it is not Redshift's own.
    pub region: Option<String>,
}

/// One load and the table that it is staged in.
pub(super) struct Stage<'a> {
    /// The step's place in the plan.
    pub(super) step: u32,
    /// The staging table's quoted name, which columns go by.
    pub(super) name: String,
    /// The same with its schema, if it has one.
    pub(super) relation: String,
    /// The target.
    pub(super) table: &'a Table,
    /// What is loaded.
    pub(super) load: &'a Load,
    /// Columns that the source has no more: what a key's row has in them stays.
    pub(super) kept: Vec<&'a Column>,
}

/// The staging table of a step.
pub(super) fn stage_name(step: u32) -> String {
    format!("re_dms_stage_{step:04}")
}

impl<'a> Stage<'a> {
    /// In a temporary table of the transaction.
    pub(super) fn new(step: u32, table: &'a Table, load: &'a Load, kept: Vec<&'a Column>) -> Self {
        let name = ident(&stage_name(step));
        Self { step, relation: name.clone(), name, table, load, kept }
    }

    /// In a table of its own that is filled before the transaction.
    pub(super) fn private(
        step: u32,
        private_name: &str,
        table: &'a Table,
        load: &'a Load,
        kept: Vec<&'a Column>,
    ) -> Self {
        let relation = qualified(OWN_SCHEMA, private_name);
        Self { step, relation, name: ident(private_name), table, load, kept }
    }

    fn is_private(&self) -> bool {
        self.relation != self.name
    }

    /// A column of the staging table, or what stands for it.
    pub(super) fn column(&self, name: &str) -> String {
        let column = |name: &str| format!("{}.{}", self.name, ident(name));
        if self.load.tagged_keys
            && let Some(part) = tagged_keys::part(self.key(), name, column)
        {
            return part;
        }
        column(name)
    }

    /// The key's columns, in order.
    pub(super) fn key(&self) -> impl Iterator<Item = &'a Column> + use<'a> {
        self.table.columns.iter().filter(|column| column.key)
    }

    /// Whether rows take the place of others that may hold something in the kept columns.
    pub(super) fn keeps(&self) -> bool {
        !self.kept.is_empty() && self.load.rows.replaces > 0
    }

    /// Names and types of the staging columns, in the order of the files' fields.
    fn columns(&self) -> Vec<(String, String)> {
        if self.load.tagged_keys {
            let columns = self.table.columns.iter();
            return columns
                .map(|column| (ident(&column.target_name), tagged_keys::staged_type(column)))
                .collect();
        }
        let own = [(OPERATION_COLUMN, "VARCHAR(1)"), (PRESENT_SET_COLUMN, "INTEGER")];
        let own = own.into_iter().map(|(name, ty)| (ident(name), ty.to_owned()));
        let table = self.table.columns.iter();
        let table = table.map(|column| (ident(&column.target_name), column.redshift_type.to_string()));
        let moved = self.key().enumerate().filter(|_| self.load.rows.moves > 0);
        let old = moved
            .map(|(position, column)| (ident(&old_key_column(position)), column.redshift_type.to_string()));
        let removal = [REMOVAL_COLUMN, COPIES_COLUMN].into_iter().filter(|_| self.load.rows.removes > 0);
        let removal = removal.map(|name| (ident(name), "BIGINT".to_owned()));
        own.chain(table).chain(old).chain(removal).collect()
    }
}

/// Stages a load.
pub(super) fn statements(
    out: &mut Statements,
    bucket: &str,
    settings: &CopySettings,
    stage: &Stage<'_>,
) -> Result<(), PlanError> {
    let columns = stage.columns();
    // The files know nothing of these.
    let kept = stage.kept.iter().filter(|_| stage.keeps());
    let kept = kept.map(|column| (ident(&column.target_name), column.redshift_type.to_string()));
    let definitions: Vec<_> =
        columns.iter().cloned().chain(kept).map(|(name, ty)| format!("{name} {ty}")).collect();
    let temp = if stage.is_private() { "" } else { "TEMP " };
    let create = format!("CREATE {temp}TABLE {} ({})", stage.relation, definitions.join(", "));
    out.push(Purpose::CreateStage, create);
    let names: Vec<_> = columns.into_iter().map(|(name, _)| name).collect();
    out.push(Purpose::Copy, copy(bucket, settings, stage, &names)?);
    out.push(Purpose::CountRows, count_rows(stage));
    Ok(())
}

/// Rows that were read anew into the table, which was emptied.
pub(super) fn rows_into_table(
    out: &mut Statements,
    bucket: &str,
    settings: &CopySettings,
    (step, table): (u32, &Table),
    load: &Load,
) -> Result<(), PlanError> {
    let relation = tables::target(table);
    let stage = Stage { step, name: ident(&table.target_name), relation, table, load, kept: Vec::new() };
    copy_rows(out, bucket, settings, &stage)
}

/// The same into a table of its own beside it, that is filled before the transaction.
pub(super) fn beside(
    of: &Option<PlannedStep>,
    bucket: &str,
    settings: &CopySettings,
    ((step, table), name): ((u32, &Table), &str),
    load: &Load,
) -> Result<Staging, PlanError> {
    let stage = Stage::private(step, name, table, load, Vec::new());
    let mut filling = Statements { of: of.clone(), ..Statements::default() };
    let column = |column: &Column| format!("{} {}", ident(&column.target_name), column.redshift_type);
    let columns: Vec<_> = table.columns.iter().map(column).collect();
    filling.push(Purpose::CreateStage, format!("CREATE TABLE {} ({})", stage.relation, columns.join(", ")));
    copy_rows(&mut filling, bucket, settings, &stage)?;
    filling.refuse_too_long()?;
    Ok(Staging { table: name.to_owned(), statements: filling.list })
}

/// From there into the table.
pub(super) fn from_beside(table: &Table, name: &str) -> String {
    let columns: Vec<_> = table.columns.iter().map(|column| ident(&column.target_name)).collect();
    let (columns, beside) = (columns.join(", "), qualified(OWN_SCHEMA, name));
    format!("INSERT INTO {} ({columns}) SELECT {columns} FROM {beside}", tables::target(table))
}

fn copy_rows(
    out: &mut Statements,
    bucket: &str,
    settings: &CopySettings,
    stage: &Stage<'_>,
) -> Result<(), PlanError> {
    // COPY refuses a manifest without files.
    if stage.load.rows.total() > 0 {
        let names: Vec<_> = stage.table.columns.iter().map(|column| ident(&column.target_name)).collect();
        out.push(Purpose::Copy, copy(bucket, settings, stage, &names)?);
    }
    out.push(Purpose::CountRows, count_rows(stage));
    Ok(())
}

/// Loads a table's initial copy: straight into the target, which must hold nothing, so that no row is there twice.
pub(super) fn into_table(
    out: &mut Statements,
    bucket: &str,
    settings: &CopySettings,
    (step, table): (u32, &Table),
    load: &Load,
) -> Result<(), PlanError> {
    out.push(Purpose::CheckEmpty, holds_rows(&tables::target(table), 0));
    if load.rows.total() > 0 { rows_into_table(out, bucket, settings, (step, table), load) } else { Ok(()) }
}

fn copy(
    bucket: &str,
    settings: &CopySettings,
    stage: &Stage<'_>,
    columns: &[String],
) -> Result<String, PlanError> {
    let source = format!("s3://{bucket}/{}", stage.load.copy_manifest);
    // How COPY's own strings are escaped is not documented: what would need it is refused.
    if source.chars().any(|c| c == '\'' || c == '\\' || c.is_control()) {
        return Err(PlanError::Manifest {
            step: stage.step,
            table: tables::target(stage.table),
            problem: "its COPY manifest's key holds a quote, a backslash or a control character".to_owned(),
        });
    }
    let role = settings.role.as_ref().map_or_else(|| "default".to_owned(), |role| format!("'{role}'"));
    let region = settings.region.as_ref().map_or_else(String::new, |region| format!(" REGION '{region}'"));
    Ok(format!(
        "COPY {} ({}) FROM '{source}' IAM_ROLE {role} FORMAT AS CSV {} MANIFEST{region} NULL AS '\\0' \
         TIMEFORMAT 'auto' DATEFORMAT 'auto' MAXERROR 0 COMPUPDATE OFF STATUPDATE OFF",
        stage.relation,
        columns.join(", "),
        stage.load.compression.copy_option()
    ))
}

/// Divides by zero unless every row of the files is staged.
fn count_rows(stage: &Stage<'_>) -> String {
    holds_rows(&stage.relation, stage.load.rows.total())
}

/// Divides by zero unless the relation holds so many rows.
fn holds_rows(relation: &str, rows: u64) -> String {
    format!(
        "SELECT 1 / COUNT(*) FROM (SELECT COUNT(*) AS \"n\" FROM {relation}) AS \"c\" WHERE \"c\".\"n\" = {rows}"
    )
}
