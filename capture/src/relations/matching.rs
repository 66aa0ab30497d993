//! Which attribute numbers a Relation message's columns have: the stream does not say, and the catalog may be ahead of it.
//!
//! What holds in any case: columns come in the order of their numbers, numbers are never given out twice, and a column that
//! was there before and is there now was there in between. Among what these allow the assignment wins that takes the fewest
//! changes in between to explain the names. Where a dropped column's name was given to a new one, a column's last change in
//! the catalog tells whether it is older than the transaction at hand: who changes a table's definition has it for himself
//! until he commits, so with a smaller number he did so before.

use re_dms_shared::manifest::Column;

use super::look::{ColumnNow, TableNow};
use crate::batch::SourceColumn;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matching {
    /// By position among the described columns; none for what the catalog does not explain.
    pub(super) numbers: Vec<Option<i16>>,
    /// A column may have been replaced by another one of its name already: it is taken for the old one.
    pub(super) doubtful: bool,
    /// Names of columns that neither had these names before nor have them now.
    pub(super) unexplained: Vec<String>,
}

/// When the transaction at hand changed the table's definition, if it did so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Before it described the table as it does.
    Earlier,
    /// After that.
    Later,
    Unknown,
}

/// The columns as they were before, and the highest number then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before<'a> {
    pub(super) columns: &'a [Column],
    pub(super) highest: Option<i16>,
}

const IMPOSSIBLE: u32 = 1_000_000;
const UNEXPLAINED: u32 = 1_000;
const OTHER_NAME: u32 = 8;
const OTHER_TYPE: u32 = 4;
const CAME_AND_WENT: u32 = 6;

/// Finds the numbers as of a transaction.
pub(super) fn numbers(
    described: &[SourceColumn],
    before: Before<'_>,
    now: &TableNow,
    at: (u32, Own),
) -> Matching {
    let attributes: Vec<Attribute<'_>> =
        now.columns.iter().map(|column| Attribute::new(column, before, at)).collect();
    let numbers = cheapest(described, &attributes);
    let is_explained = |column: &SourceColumn, number: Option<i16>| {
        let found = attributes.iter().find(|attribute| Some(attribute.column.number) == number);
        found.is_some_and(|attribute| {
            attribute.before.is_some_and(|before| before.name == column.name)
                || attribute.column.name.as_ref() == Some(&column.name)
        })
    };
    // Where every column was there before and is there now, there is nothing to choose.
    let is_choice = attributes
        .iter()
        .any(|attribute| attribute.is_new || (attribute.column.name.is_none() && attribute.before.is_some()))
        || numbers.contains(&None);
    let pairs = described.iter().zip(&numbers);
    let unexplained = pairs.filter(|(column, number)| is_choice && !is_explained(column, **number));
    let unexplained = unexplained.map(|(column, _)| column.name.clone()).collect();
    let doubtful = described.iter().any(|column| {
        let replaced = attributes.iter().any(|attribute| {
            attribute.column.name.is_none() && attribute.before.is_some_and(|old| old.name == column.name)
        });
        let by_later = attributes.iter().any(|attribute| {
            attribute.is_new
                && (attribute.is_later || attribute.is_undated)
                && attribute.column.name.as_ref() == Some(&column.name)
        });
        replaced && by_later
    });
    Matching { numbers, doubtful, unexplained }
}

/// An attribute number, and what is known of it.
struct Attribute<'a> {
    column: &'a ColumnNow,
    before: Option<&'a Column>,
    /// Given out since.
    is_new: bool,
    /// The catalog's row is younger than the transaction at hand.
    is_later: bool,
    /// The transaction at hand did it, and whether before or after is not known.
    is_undated: bool,
}

impl<'a> Attribute<'a> {
    fn new(column: &'a ColumnNow, before: Before<'a>, (xid, own): (u32, Own)) -> Self {
        let known = before.columns.iter().find(|known| known.attribute_number == Some(column.number));
        let is_new = known.is_none() && before.highest.is_none_or(|highest| column.number > highest);
        // Numbers of transactions go round.
        let is_own = column.xid == xid;
        let is_later = column.xid.wrapping_sub(xid).cast_signed() > 0 || (is_own && own == Own::Later);
        Self { column, before: known, is_new, is_later, is_undated: is_own && own == Own::Unknown }
    }

    /// What it takes to believe that this is the described column.
    fn is(&self, described: &SourceColumn) -> u32 {
        let ColumnNow { name, type_oid, modifier, .. } = self.column;
        let same = |name: &str| name == described.name;
        let same_type =
            |ty: u32, modifier: i32| (ty, modifier) == (described.type_oid, described.type_modifier);
        let before_fits = self.before.is_some_and(|old| same(&old.name));
        let type_before_fits = self.before.is_some_and(|old| same_type(old.type_oid, old.type_modifier));
        let Some(name) = name else {
            return match self.before {
                Some(_) => other(!before_fits, OTHER_NAME) + other(!type_before_fits, OTHER_TYPE),
                None if self.is_new => CAME_AND_WENT,
                None => IMPOSSIBLE,
            };
        };
        let fits = other(!(before_fits || same(name)), OTHER_NAME)
            + other(!(type_before_fits || same_type(*type_oid, *modifier)), OTHER_TYPE);
        fits + other(self.is_new && self.is_later, 2)
    }

    /// What it takes to believe that no described column is this one.
    fn is_none(&self) -> u32 {
        match (&self.column.name, self.before) {
            (Some(_), _) if !self.column.published => 0,
            (Some(_), Some(_)) => UNEXPLAINED,
            (Some(_), None) if self.is_later => 1,
            (Some(_), None) => OTHER_TYPE,
            (None, Some(_)) => 1,
            (None, None) => 0,
        }
    }
}

fn other(is_other: bool, cost: u32) -> u32 {
    if is_other { cost } else { 0 }
}

/// The cheapest assignment in ascending order.
fn cheapest(described: &[SourceColumn], attributes: &[Attribute<'_>]) -> Vec<Option<i16>> {
    #[derive(Clone, Copy)]
    enum Choice {
        Skip,
        Match,
        Unknown,
    }
    let width = attributes.len() + 1;
    let mut costs = vec![0_u32; (described.len() + 1) * width];
    let mut choices = vec![Choice::Skip; costs.len()];
    for i in 0..=described.len() {
        for j in 0..width {
            let at = |i: usize, j: usize| i * width + j;
            let mut best = if (i, j) == (0, 0) { (0, Choice::Skip) } else { (u32::MAX, Choice::Skip) };
            if j > 0 {
                best = (costs[at(i, j - 1)].saturating_add(attributes[j - 1].is_none()), Choice::Skip);
            }
            if i > 0 {
                let unknown = costs[at(i - 1, j)].saturating_add(UNEXPLAINED);
                if unknown < best.0 {
                    best = (unknown, Choice::Unknown);
                }
            }
            if i > 0 && j > 0 {
                let matched = costs[at(i - 1, j - 1)].saturating_add(attributes[j - 1].is(&described[i - 1]));
                if matched < best.0 {
                    best = (matched, Choice::Match);
                }
            }
            (costs[at(i, j)], choices[at(i, j)]) = best;
        }
    }
    let mut numbers = vec![None; described.len()];
    let (mut i, mut j) = (described.len(), attributes.len());
    while i > 0 {
        match choices[i * width + j] {
            Choice::Skip => j -= 1,
            Choice::Unknown => i -= 1,
            Choice::Match => {
                (i, j) = (i - 1, j - 1);
                numbers[i] = Some(attributes[j].column.number);
            }
        }
    }
    numbers
}

#[cfg(test)]
mod tests;
