//! Tables without a key: how many copies of a row come or go.

use super::*;

/// Applies changes to a table without a key; `i`, `d` and a row, `u old > new`, with whole rows before them.
fn run(changes: &[&str]) -> Vec<String> {
    let shape = shape("ab");
    let mut batch = Batch::new();
    for change in changes {
        let (kind, rest) = change.split_once(' ').unwrap();
        match kind {
            "i" => insert(&mut batch, &shape, rest),
            "d" => delete_full(&mut batch, &shape, rest),
            _ => {
                let (old, new) = rest.split_once(" > ").unwrap();
                update_full(&mut batch, &shape, old, new)
            }
        }
        .unwrap();
    }
    steps(batch)
}

#[test]
fn equal_rows_are_counted() {
    assert_eq!(run(&["i 1 x", "i 1 x"]), ["i 1 x, i 1 x"], "nothing goes");
    assert_eq!(run(&["d 1 x", "d 1 x", "d 2 -"]), ["-2 1 x, -1 2 -"]);
    assert_eq!(run(&["i 1 x", "i 1 x", "d 2 y", "i 1 x"]), ["+3 1 x, -1 2 y"]);
    assert_eq!(run(&["d 1 x", "i 1 y", "d 1 x"]), ["-2 1 x, +1 1 y"]);
}

#[test]
fn what_comes_and_goes_leaves_nothing() {
    assert_eq!(run(&["i 1 x", "d 1 x"]), [""; 0]);
    assert_eq!(run(&["d 1 x", "i 1 x"]), [""; 0]);
    assert_eq!(run(&["i 1 x", "i 1 x", "d 1 x"]), ["+1 1 x"]);
}

#[test]
fn an_update_is_one_that_goes_and_one_that_comes() {
    assert_eq!(run(&["u 1 x > 1 y"]), ["-1 1 x, +1 1 y"]);
    assert_eq!(run(&["u 1 x > 1 y", "u 1 y > 1 z"]), ["-1 1 x, +1 1 z"]);
    assert_eq!(run(&["u 1 x > 1 y", "u 1 y > 1 x"]), [""; 0]);
    assert_eq!(run(&["u 1 x > 1 x"]), [""; 0]);
    assert_eq!(run(&["u 1 x > 2 ~"]), ["-1 1 x, +1 2 x"], "unchanged cells from the row before");
    assert_eq!(run(&["i 1 x", "u 1 x > 1 y"]), ["+1 1 y"]);
}

#[test]
fn null_is_neither_empty_nor_part_of_another_column() {
    assert_eq!(run(&["i - 1", "d  1", "i 1 -", "d 1 "]), ["+1 - 1, -1  1, +1 1 -, -1 1 "]);
}

#[test]
fn a_truncate_takes_what_came_and_went() {
    let shape = shape("ab");
    let mut batch = Batch::new();
    insert(&mut batch, &shape, "1 x").unwrap();
    delete_full(&mut batch, &shape, "2 x").unwrap();
    batch.truncate(&shape);
    insert(&mut batch, &shape, "2 x").unwrap();
    assert_eq!(steps(batch), ["truncate t", "i 2 x"]);
}

#[test]
fn a_key_that_comes_or_goes_starts_another_load() {
    let mut batch = Batch::new();
    update_full(&mut batch, &shape("ab"), "1 x", "1 y").unwrap();
    update_full(&mut batch, &shape("Ab"), "1 y", "1 z").unwrap();
    delete_full(&mut batch, &shape("ab"), "1 z").unwrap();
    assert_eq!(steps(batch), ["-1 1 x, +1 1 y", "r 1 z", "-1 1 z"]);
}

#[test]
fn without_the_whole_row_nothing_is_guessed() {
    let shape = shape("ab");
    let mut batch = Batch::new();
    insert(&mut batch, &shape, "1 x").unwrap();
    let bytes = batch.bytes();
    let errors = [
        update(&mut batch, &shape, "1 y").unwrap_err(),
        rekey(&mut batch, &shape, "1 -", "1 y").unwrap_err(),
        delete(&mut batch, &shape, "1 -").unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, BatchError::NoIdentity { .. }), "{error:?}");
        assert!(error.to_string().contains("hint: ALTER TABLE … REPLICA IDENTITY FULL"), "{error}");
    }
    let error = update_full(&mut batch, &shape, "1 -", "1 ~").unwrap_err();
    assert!(matches!(error, BatchError::NoIdentity { .. }), "NULL is never TOASTed: {error:?}");
    let error = delete_full(&mut batch, &shape, "1 ~").unwrap_err();
    assert!(matches!(&error, BatchError::MissingValue { column, .. } if column == "b"), "{error:?}");
    assert_eq!((batch.changes(), batch.bytes()), (1, bytes));
}

#[test]
fn memory_follows_the_rows_that_differ() {
    let shape = shape("ab");
    let wide = "w".repeat(1_000);
    let mut batch = Batch::new();
    for number in 0..1_000 {
        insert(&mut batch, &shape, &format!("{number} {wide}")).unwrap();
    }
    let inserted = batch.bytes();
    assert!((1_010_000..1_200_000).contains(&inserted), "{inserted}");
    delete_full(&mut batch, &shape, "gone -").unwrap();
    let counted = batch.bytes();
    assert!((inserted..inserted + 200_000).contains(&counted), "{counted}");
    for _ in 0..1_000 {
        insert(&mut batch, &shape, &format!("7 {wide}")).unwrap();
    }
    assert_eq!(batch.bytes(), counted, "equal rows are held once");
    for number in 8..1_000 {
        delete_full(&mut batch, &shape, &format!("{number} {wide}")).unwrap();
    }
    assert!(batch.bytes() < 200_000, "{}", batch.bytes());
    update_full(&mut batch, &super::shape("abc"), "1 x y", "2 x y").unwrap();
    assert!((1_000..200_000).contains(&batch.bytes()), "closed loads count too: {}", batch.bytes());
    let rows: usize = batch
        .into_steps()
        .iter()
        .map(|step| match &step.action {
            StepAction::Load(load) => load.rows(),
            _ => 0,
        })
        .sum();
    assert_eq!(rows, 7 + 1_001 + 1 + 2, "a line for each copy that comes, one for all that go");
}
