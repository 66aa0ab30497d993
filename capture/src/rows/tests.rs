//! Whole loads: files, counts, policies, and what an independent reader makes of them.

use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;
use proptest::prelude::*;
use re_dms_shared::manifest::{Altered, Operation, RowCounts, sha256_hex};
use re_dms_shared::types::{ColumnRules, Policy, SuperNull, map_type};

use super::value::MAX_ROW_BYTES;
use super::*;
use crate::batch::{Copies, Entry, LoadData, Move, SourceColumn, TableShape};
use crate::pgoutput::{Cell, Tuple};

const INT4: u32 = 23;
const TEXT: u32 = 25;
const FLOAT8: u32 = 701;
const JSONB: u32 = 3802;

/// Columns as (name, type); an upper-case name is a key column's.
fn shape(columns: &[(&str, u32)]) -> Arc<TableShape> {
    let column = |&(name, type_oid): &(&str, u32)| SourceColumn {
        name: name.to_owned(),
        attribute_number: None,
        type_oid,
        type_modifier: -1,
        key: name.starts_with(|letter: char| letter.is_ascii_uppercase()),
    };
    let columns = columns.iter().map(column).collect();
    Arc::new(TableShape::new(7, ("public", "t"), ("public", "t"), columns).unwrap())
}

/// The same with other rules for its columns.
fn with_rules(shape: &TableShape, rules: ColumnRules) -> Arc<TableShape> {
    let columns = shape.columns().iter().map(|column| SourceColumn {
        name: column.name.clone(),
        attribute_number: None,
        type_oid: column.type_oid,
        type_modifier: -1,
        key: column.key,
    });
    let types = |column: &SourceColumn| Ok((map_type(column.type_oid, -1), rules));
    let shape = TableShape::with_types(7, ("public", "t"), ("public", "t"), columns.collect(), types);
    Arc::new(shape.unwrap())
}

fn tuple(cells: &[Cell<'_>]) -> Box<[u8]> {
    let mut out = Vec::new();
    Tuple::encode(cells.iter().copied(), &mut out);
    out.into()
}

fn text(value: &str) -> Cell<'_> {
    Cell::Text(value.as_bytes())
}

fn entry(operation: Operation, cells: &[Cell<'_>]) -> Entry {
    Entry { operation, row: tuple(cells) }
}

/// A load's files, written one after the other, and what is said about them.
#[derive(Debug)]
pub(crate) struct RenderedLoad {
    pub(crate) files: Vec<RenderedFile>,
    pub(crate) rows: RowCounts,
    pub(crate) present_sets: Vec<Vec<usize>>,
    pub(crate) altered: Vec<Altered>,
}

/// From the last file to the first: what a file holds must not depend on which is written first.
pub(crate) fn write_load(
    shape: &Arc<TableShape>,
    load: &LoadData,
    max_bytes: usize,
) -> Result<RenderedLoad, RenderError> {
    let (context, parts) = split(Arc::clone(shape), load.clone(), FileSize { max_bytes, slices: 1 });
    let files = parts.into_iter().rev().map(|rows| rows.render(&context, Codec::Gzip(1)));
    let mut files = files.collect::<Result<Vec<_>, _>>()?;
    files.reverse();
    let summaries = files.iter().map(|file| file.summary.clone());
    let LoadSummary { rows, present_sets, altered } = context.summary(summaries);
    Ok(RenderedLoad { files, rows, present_sets, altered })
}

fn render(shape: &Arc<TableShape>, entries: Vec<Entry>) -> Result<RenderedLoad, RenderError> {
    write_load(shape, &LoadData::Entries(entries), usize::MAX)
}

pub(crate) fn unpacked(file: &RenderedFile) -> Vec<u8> {
    let mut text = Vec::new();
    // This reader stops after one member; what follows it would be left over.
    let mut rest = &file.bytes[..];
    GzDecoder::new(&mut rest).read_to_end(&mut text).unwrap();
    assert!(rest.is_empty(), "one member a file");
    assert_eq!(file.sha256, sha256_hex(&file.bytes));
    text
}

/// The text of the only file, NUL shown as `␀`.
fn text_of(load: &RenderedLoad) -> String {
    let [file] = &load.files[..] else { panic!("{} files", load.files.len()) };
    String::from_utf8(unpacked(file)).unwrap().replace('\0', "␀")
}

/// Redshift may read the mark of NULL as malformed JSON in a SUPER column, and an empty field as NULL.
#[test]
fn null_in_super_columns_is_as_it_was_wanted() {
    let plain = shape(&[("Id", INT4), ("doc", JSONB), ("note", TEXT)]);
    let rendered = |super_null| {
        let shape = with_rules(&plain, ColumnRules { super_null, ..ColumnRules::default() });
        let entries = vec![
            entry(Operation::Insert, &[text("1"), Cell::Null, Cell::Null]),
            entry(Operation::Insert, &[text("2"), text("null"), text("")]),
            entry(Operation::Insert, &[text("3"), text("\"\\u0000\""), text("no SUPER")]),
            entry(Operation::Update, &[text("4"), Cell::Unchanged, text("x")]),
            entry(Operation::Delete, &[text("5")]),
        ];
        let load = render(&shape, entries).unwrap();
        assert_eq!(load.altered.iter().map(|altered| altered.values).sum::<u64>(), 1, "the third doc");
        text_of(&load)
    };
    assert_eq!(rendered(SuperNull::Mark), "i,␀,1,␀,␀\ni,␀,2,null,\ni,␀,3,␀,no SUPER\nu,0,4,␀,x\nd,␀,5,␀,␀\n");
    assert_eq!(rendered(SuperNull::Empty), "i,␀,1,,␀\ni,␀,2,null,\ni,␀,3,,no SUPER\nu,0,4,,x\nd,␀,5,,␀\n");
}

/// With as many columns as Redshift takes, nothing is left for a column of the load's own.
#[test]
fn keys_of_the_widest_tables_are_tagged() {
    let names: Vec<String> = (0..1_597).map(|n| format!("c{n}")).collect();
    let mut columns = vec![("Id", INT4), ("Region", TEXT)];
    columns.extend(names.iter().map(|name| (name.as_str(), INT4)));
    let shape = shape(&columns);
    let nulls = |key: &[&'static str]| {
        let key = key.iter().map(|value| text(value));
        tuple(&key.chain(std::iter::repeat_n(Cell::Null, 1_597)).collect::<Vec<_>>())
    };
    let entries = vec![
        Entry { operation: Operation::Insert, row: nulls(&["7", "a,b"]) },
        entry(Operation::Delete, &[text("8"), text("ä ")]),
    ];
    let no_more = ",␀".repeat(1_597);
    assert_eq!(
        text_of(&render(&shape, entries).unwrap()),
        format!(
            "i00000000000000007,\"i0000000000000000a,b\"{no_more}\nd00000000000000008,\"d0000000000000000ä \"{no_more}\n"
        )
    );
    let moved = Move { old_key: tuple(&[text("8"), text("\"ä\"")]), row: nulls(&["9", "é"]) };
    let load = write_load(&shape, &LoadData::Moves(vec![moved]), usize::MAX).unwrap();
    assert_eq!(text_of(&load), format!("m000000000000000189,\"m0000000000000003\"\"ä\"\"é\"{no_more}\n"));
    assert_eq!(load.present_sets, [(0..1_599).collect::<Vec<_>>()]);
}

#[test]
fn a_load_of_every_operation() {
    let shape = shape(&[("Id", INT4), ("a", TEXT), ("b", TEXT)]);
    let entries = vec![
        entry(Operation::Insert, &[text("1"), text(""), Cell::Null]),
        entry(Operation::Replace, &[text("2"), text("x, y"), text("say \"hi\"")]),
        entry(Operation::Update, &[text("3"), Cell::Unchanged, text("two\nlines")]),
        entry(Operation::Update, &[text("4"), Cell::Null, Cell::Unchanged]),
        entry(Operation::Update, &[text("5"), Cell::Unchanged, text(" b")]),
        entry(Operation::Delete, &[text("6")]),
    ];
    let load = render(&shape, entries).unwrap();
    insta::assert_snapshot!(text_of(&load), @r#"
    i,␀,1,,␀
    r,␀,2,"x, y","say ""hi"""
    u,0,3,␀,"two
    lines"
    u,1,4,␀,␀
    u,0,5,␀," b"
    d,␀,6,␀,␀
    "#);
    assert_eq!(
        load.rows,
        RowCounts { inserts: 1, replaces: 1, updates: 3, deletes: 1, ..RowCounts::default() }
    );
    assert_eq!(load.present_sets, [vec![0, 2], vec![0, 1]]);
    assert!(load.altered.is_empty());
}

#[test]
fn moves_carry_the_old_key_behind_the_row() {
    let shape = shape(&[("a", TEXT), ("Id", INT4), ("b", TEXT), ("Part", TEXT)]);
    let moves = LoadData::Moves(vec![Move {
        old_key: tuple(&[text("1"), text("old,part")]),
        row: tuple(&[Cell::Unchanged, text("2"), text("x"), text("new")]),
    }]);
    let load = write_load(&shape, &moves, usize::MAX).unwrap();
    assert_eq!(text_of(&load), "m,0,␀,2,x,new,1,\"old,part\"\n");
    assert_eq!(load.present_sets, [[1, 2, 3]]);
    assert_eq!(load.rows.moves, 1);
}

fn copies(cells: &[Cell<'_>], change: i64) -> Copies {
    Copies { row: tuple(cells), change }
}

#[test]
fn removals_have_a_number_and_a_count_behind_the_row() {
    let shape = shape(&[("a", TEXT), ("f", FLOAT8)]);
    let rows = vec![
        copies(&[text("gone"), Cell::Null], -3),
        copies(&[text("new"), text("1")], 2),
        copies(&[Cell::Null, text("NaN")], -1),
    ];
    let load = write_load(&shape, &LoadData::Copies(rows), usize::MAX).unwrap();
    insta::assert_snapshot!(text_of(&load), @r"
    x,␀,gone,␀,1,3
    i,␀,new,1,␀,␀
    i,␀,new,1,␀,␀
    x,␀,␀,␀,2,1
    ");
    assert_eq!(load.rows, RowCounts { inserts: 2, removes: 2, ..RowCounts::default() });
    assert!(load.altered.is_empty(), "what was altered was counted when it came");
    let only_new = LoadData::Copies(vec![copies(&[text("new"), Cell::Null], 2)]);
    let load = write_load(&shape, &only_new, usize::MAX).unwrap();
    assert_eq!(text_of(&load), "i,␀,new,␀\ni,␀,new,␀\n", "without removals no fields for them");
}

#[test]
fn a_row_that_is_too_long_goes_as_it_came() {
    let shape = shape(&[("a", JSONB), ("b", JSONB)]);
    // The text of the second column, such that the row's length goes through the limit.
    for excess in -12..4_i64 {
        let length = |bytes: usize| format!("[{}1]", "1".repeat(bytes - 3));
        let rest = usize::try_from(MAX_ROW_BYTES as i64 - 2_000_000 + excess).unwrap();
        let (a, b) = (length(2_000_000), length(rest));
        let cells = [text(&a), text(&b)];
        let shown = |load: LoadData| text_of(&write_load(&shape, &load, usize::MAX).unwrap());
        let came = shown(LoadData::Entries(vec![entry(Operation::Insert, &cells)]));
        let gone = shown(LoadData::Copies(vec![copies(&cells, -1_000_000)]));
        assert_eq!(
            came.strip_prefix('i').unwrap().trim_end(),
            gone.strip_prefix('x').unwrap().strip_suffix(",1,1000000\n").unwrap()
        );
        assert!(gone.len() <= 4_000_000);
    }
}

#[test]
fn policies_are_counted_by_column() {
    const DATE: u32 = 1082;
    let shape = shape(&[("Id", INT4), ("f", FLOAT8), ("s", TEXT), ("d", DATE)]);
    let shape = with_rules(&shape, ColumnRules { date: Policy::Saturate, ..ColumnRules::default() });
    let long = "x".repeat(65_536);
    let entries = vec![
        entry(Operation::Insert, &[text("1"), text("NaN"), text(&long), text("infinity")]),
        entry(Operation::Insert, &[text("2"), text("1.5"), text(""), text("0044-03-15 BC")]),
        entry(Operation::Replace, &[text("3"), text("Infinity"), text("x"), text("10000-01-01")]),
        entry(Operation::Insert, &[text("4"), Cell::Null, text("x"), text("2024-02-29")]),
    ];
    let load = render(&shape, entries).unwrap();
    let altered = |column: &str, policy: &str, values| Altered {
        column: column.to_owned(),
        policy: policy.to_owned(),
        values,
    };
    let expected = [altered("f", "null", 2), altered("s", "truncate", 1), altered("d", "saturate", 3)];
    assert_eq!(load.altered, expected);
}

#[test]
fn a_key_is_exact_or_an_error() {
    let shape = shape(&[("Key", TEXT), ("a", TEXT)]);
    let long = "k".repeat(65_536);
    let error = render(&shape, vec![entry(Operation::Delete, &[text(&long)])]).unwrap_err();
    assert!(error.to_string().starts_with("table public.t, column Key: a key's value has no exact form"));
    let old_key = tuple(&[text(&long)]);
    let moves = LoadData::Moves(vec![Move { old_key, row: tuple(&[text("new"), Cell::Unchanged]) }]);
    let error = write_load(&shape, &moves, usize::MAX).unwrap_err();
    assert!(matches!(error, RenderError::KeyNotExact { .. }), "{error}");
}

#[test]
fn a_key_that_redshift_takes_for_another_is_an_error() {
    const FLOAT4: u32 = 700;
    const INT4_ARRAY: u32 = 1007;
    for (type_oid, value, exact) in [
        (FLOAT8, "-0", false),
        (FLOAT4, "-0", false),
        (FLOAT8, "0", true),
        (FLOAT8, "-0.5", true),
        (INT4_ARRAY, "[0:1]={1,2}", false),
        (INT4_ARRAY, "{1,2}", true),
        (TEXT, "-0", true),
        (TEXT, "[0:1]={1,2}", true),
    ] {
        let key = render(&shape(&[("Key", type_oid)]), vec![entry(Operation::Delete, &[text(value)])]);
        assert_eq!(key.is_ok(), exact, "{value} of type {type_oid}");
        let other = shape(&[("Id", INT4), ("other", type_oid)]);
        render(&other, vec![entry(Operation::Insert, &[text("1"), text(value)])]).unwrap();
    }
}

#[test]
fn what_is_malformed_is_named_but_not_shown() {
    let shape = shape(&[("Id", INT4), ("f", FLOAT8)]);
    let error = render(&shape, vec![entry(Operation::Insert, &[text("1"), text("hunter2")])]).unwrap_err();
    assert!(error.to_string().starts_with("table public.t, column f: a value is not a number"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn a_row_with_a_hole_is_an_error() {
    let shape = shape(&[("Id", INT4), ("a", TEXT)]);
    for operation in [Operation::Insert, Operation::Replace] {
        let error = render(&shape, vec![entry(operation, &[text("1"), Cell::Unchanged])]).unwrap_err();
        assert!(matches!(error, RenderError::Incomplete { .. }), "{error}");
    }
}

#[test]
fn a_row_that_is_too_long_loses_its_largest_values() {
    let shape = shape(&[("Id", INT4), ("small", JSONB), ("large", JSONB), ("larger", JSONB), ("s", TEXT)]);
    let array = |bytes: usize| format!("[{}1]", "1,".repeat(bytes / 2));
    let (small, large, larger) = (array(900_000), array(2_500_000), array(3_900_000));
    let cells = [text("1"), text(&small), text(&large), text(&larger), text("x")];
    let load =
        render(&shape, vec![entry(Operation::Insert, &cells), entry(Operation::Insert, &cells)]).unwrap();
    let expected = Altered { column: "larger".to_owned(), policy: "null".to_owned(), values: 2 };
    assert_eq!(load.altered, [expected]);
    let shown = text_of(&load);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert!(line.len() <= MAX_ROW_BYTES && line.ends_with(",␀,x"));
    }
}

#[test]
fn files_are_of_one_size_and_hold_every_row() {
    let shape = shape(&[("Id", INT4), ("a", TEXT)]);
    let filler = "f".repeat(100);
    let ids: Vec<String> = (0..1_000).map(|id| id.to_string()).collect();
    let entries = || ids.iter().map(|id| entry(Operation::Insert, &[text(id), text(&filler)])).collect();
    let files =
        |max_file_bytes| write_load(&shape, &LoadData::Entries(entries()), max_file_bytes).unwrap().files;
    assert_eq!(files(usize::MAX).len(), 1);
    assert_eq!(files(0).len(), 1_000, "no file without a row");
    let three = files(45_000);
    assert_eq!(three.len(), 3);
    assert!(three.iter().all(|file| (320..=340).contains(&file.summary.rows.total())), "{three:?}");
    let all: Vec<u8> = three.iter().flat_map(unpacked).collect();
    let lines: Vec<&str> = str::from_utf8(&all).unwrap().lines().collect();
    assert_eq!(lines.len(), 1_000);
    assert_eq!(lines[999], format!("i,\0,999,{filler}"));

    let load = || LoadData::Entries(entries());
    let files = |max_bytes, slices| split(Arc::clone(&shape), load(), FileSize { max_bytes, slices }).1;
    assert_eq!(files(usize::MAX, 4).len(), 1, "what fits into one file needs no other");
    let eight = files(25_000, 4);
    assert_eq!(eight.len(), 8, "five would do, but four slices have work then for two turns");
    assert!(eight.iter().all(|file| (120..=130).contains(&file.rows.rows())), "{eight:?}");
}

#[test]
fn the_same_load_gives_the_same_bytes() {
    let shape = shape(&[("a", TEXT)]);
    let once =
        || render(&shape, vec![entry(Operation::Insert, &[text("x")])]).unwrap().files[0].sha256.clone();
    assert_eq!(once(), once());
}

/// A row's copies fill files up; numbers of sets and of removals go on from file to file.
#[test]
fn numbers_go_through_all_files_of_a_load() {
    let keyless = shape(&[("a", TEXT)]);
    let rows = vec![copies(&[text("gone")], -2), copies(&[text("many")], 7), copies(&[text("also")], -1)];
    let bytes: usize = rows.iter().map(|copies| copies.row.len() * copies.lines()).sum();
    let load = write_load(&keyless, &LoadData::Copies(rows), bytes.div_ceil(3)).unwrap();
    let texts: Vec<_> = load.files.iter().map(|file| String::from_utf8(unpacked(file)).unwrap()).collect();
    let many = "i,\0,many,\0,\0\n";
    assert_eq!(
        texts,
        [format!("x,\0,gone,1,2\n{many}{many}"), many.repeat(3), format!("{many}{many}x,\0,also,2,1\n")]
    );
    assert_eq!(load.rows, RowCounts { inserts: 7, removes: 2, ..RowCounts::default() });

    let keyed = shape(&[("Id", INT4), ("a", TEXT), ("b", TEXT)]);
    let update = |id, a, b| entry(Operation::Update, &[text(id), a, b]);
    let entries = vec![
        update("1", Cell::Unchanged, text("b")),
        update("2", text("a"), Cell::Unchanged),
        update("3", Cell::Unchanged, text("b")),
    ];
    let load = write_load(&keyed, &LoadData::Entries(entries), 1).unwrap();
    let texts: Vec<_> = load.files.iter().map(|file| String::from_utf8(unpacked(file)).unwrap()).collect();
    assert_eq!(texts, ["u,0,1,\0,b\n", "u,1,2,a,\0\n", "u,0,3,\0,b\n"]);
    assert_eq!(load.present_sets, [[0, 2], [0, 1]]);
}

fn cell() -> impl Strategy<Value = Option<String>> {
    let any_text = any::<String>().prop_map(|text| text.replace('\0', ""));
    let special = "[ab,\"\r\n\t \\\\]{0,12}";
    let long = ("[xyz]{30,40}", "[,\"\n ]", "[xyz]{0,40}").prop_map(|(a, b, c)| a + &b + &c);
    prop::option::weighted(0.9, prop_oneof![any_text, special, long])
}

proptest! {
    #[test]
    fn any_text_is_read_back(rows in prop::collection::vec([cell(), cell(), cell()], 1..30), max_file_bytes in 1..500_usize) {
        let shape = shape(&[("a", TEXT), ("b", TEXT), ("c", TEXT)]);
        let entry_of = |row: &[Option<String>; 3]| {
            let cells = row.each_ref().map(|cell| cell.as_deref().map_or(Cell::Null, text));
            entry(Operation::Insert, &cells)
        };
        let load = LoadData::Entries(rows.iter().map(entry_of).collect());
        let load = write_load(&shape, &load, max_file_bytes).unwrap();
        let mut read = Vec::new();
        for file in &load.files {
            let text = unpacked(file);
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(&text[..]);
            let before = read.len();
            for record in reader.records() {
                let record = record.unwrap();
                prop_assert_eq!((&record[0], &record[1], record.len()), ("i", "\0", 5));
                read.push([2, 3, 4].map(|at| Some(record[at].to_owned()).filter(|field| field != "\0")));
            }
            prop_assert_eq!((read.len() - before) as u64, file.summary.rows.total());
        }
        prop_assert_eq!(read, rows);
    }
}
