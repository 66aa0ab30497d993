//! The compaction table of the design, cell by cell, and key changes.

use re_dms_shared::manifest::Layout;

use super::*;

/// Applies changes to a table with the key `A` and the columns b and c; `i`, `u`, `d` and a row, or `k old > new`.
fn run_on(columns: &str, changes: &[&str]) -> Result<Vec<String>, BatchError> {
    run_with(&shape(columns), changes)
}

/// A table whose column d was dropped and is kept in Redshift.
fn run_keeping(changes: &[&str]) -> Vec<String> {
    let shape = TableShape::clone(&shape("Abc"));
    let kept = shape.columns()[2].clone();
    run_with(&Arc::new(shape.with_target(Layout::default(), vec![kept])), changes).unwrap()
}

fn run_with(shape: &Arc<TableShape>, changes: &[&str]) -> Result<Vec<String>, BatchError> {
    let mut batch = Batch::new();
    for change in changes {
        let (kind, rest) = change.split_once(' ').unwrap();
        match kind {
            "i" => insert(&mut batch, shape, rest)?,
            "u" => update(&mut batch, shape, rest)?,
            "d" => delete(&mut batch, shape, rest)?,
            "k" => {
                let (old, new) = rest.split_once(" > ").unwrap();
                rekey(&mut batch, shape, old, new)?;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(batch.changes(), changes.len() as u64);
    Ok(steps(batch))
}

fn run(changes: &[&str]) -> Vec<String> {
    run_on("Abc", changes).unwrap()
}

fn refusal(changes: &[&str]) -> String {
    run_on("Abc", changes).unwrap_err().to_string()
}

#[test]
fn over_nothing() {
    assert_eq!(run(&["i 1 x y"]), ["i 1 x y"]);
    assert_eq!(run(&["u 1 x y"]), ["r 1 x y"], "a whole row");
    assert_eq!(run(&["u 1 x ~"]), ["u 1 x ~"]);
    assert_eq!(run(&["u 1 ~ ~"]), [""; 0], "nothing that Redshift has not");
    assert_eq!(run(&["d 1 - -"]), ["d 1"]);
}

#[test]
fn over_an_insert() {
    assert!(refusal(&["i 1 x y", "i 1 x y"]).contains("second row with one key"));
    assert_eq!(run(&["i 1 x y", "u 1 z ~"]), ["i 1 z y"], "unchanged cells from the insert");
    assert_eq!(run(&["i 1 x y", "u 1 z -"]), ["i 1 z -"]);
    assert_eq!(run(&["i 1 x y", "d 1 - -"]), ["d 1"], "kept: harmless and replay-safe");
}

#[test]
fn over_an_update() {
    assert!(refusal(&["u 1 x ~", "i 1 x y"]).contains("second row with one key"));
    assert!(refusal(&["u 1 x y", "i 1 x y"]).contains("second row with one key"));
    assert_eq!(run(&["u 1 x ~", "u 1 z ~"]), ["u 1 z ~"]);
    assert_eq!(run(&["u 1 x ~", "u 1 ~ z"]), ["r 1 x z"], "together they are the whole row");
    assert_eq!(run(&["u 1 x ~", "u 1 y z"]), ["r 1 y z"]);
    assert_eq!(run(&["u 1 x y", "u 1 z ~"]), ["r 1 z y"], "unchanged cells from the earlier row");
    assert_eq!(run(&["u 1 x ~", "d 1 - -"]), ["d 1"]);
    assert_eq!(run(&["u 1 x y", "d 1 - -"]), ["d 1"]);
}

#[test]
fn over_a_delete() {
    assert_eq!(run(&["d 1 - -", "i 1 x y"]), ["r 1 x y"]);
    assert_eq!(run(&["d 1 - -", "i 1 x y", "u 1 z ~"]), ["r 1 z y"]);
    assert!(refusal(&["d 1 - -", "u 1 x y"]).contains("an earlier change took away"));
    assert_eq!(run(&["d 1 - -", "d 1 - -"]), ["d 1"]);
    assert_eq!(run(&["i 1 x y", "d 1 - -", "i 1 p q"]), ["r 1 p q"]);
}

#[test]
fn where_redshift_keeps_columns_rows_take_them_along_and_leave_them_when_they_go() {
    assert_eq!(run_keeping(&["k 1 - - > 2 x y"]), ["m 1 -> 2 x y"], "a move, though the row is whole");
    assert_eq!(run_keeping(&["u 1 p q", "k 1 - - > 2 x y"]), ["m 1 -> 2 x y"]);
    assert_eq!(
        run_keeping(&["i 1 x y", "k 1 - - > 2 z ~"]),
        ["i 1 x y", "m 1 -> 2 z y"],
        "it is there first"
    );
    assert_eq!(run_keeping(&["d 1 - -", "i 1 x y"]), ["d 1", "i 1 x y"], "another row");
    assert_eq!(run_keeping(&["d 2 - -", "k 1 - - > 2 x y"]), ["d 2", "m 1 -> 2 x y"]);
    assert_eq!(run_keeping(&["k 1 - - > 2 x y", "k 2 - - > 3 x y"]), ["m 1 -> 2 x y", "m 2 -> 3 x y"]);
    assert_eq!(run_keeping(&["u 1 x y"]), ["r 1 x y"], "the loader knows");
}

#[test]
fn a_key_change_is_a_delete_and_a_replace() {
    assert_eq!(run(&["k 1 - - > 2 x y"]), ["d 1, r 2 x y"]);
    assert_eq!(
        run(&["i 1 x y", "k 1 - - > 2 z ~"]),
        ["d 1, r 2 z y"],
        "unchanged cells from the old key's entry"
    );
    assert_eq!(run(&["u 1 x y", "k 1 - - > 2 ~ ~"]), ["d 1, r 2 x y"]);
    assert_eq!(
        run(&["u 1 ~ y", "k 1 - - > 2 x ~"]),
        ["d 1, r 2 x y"],
        "a part of the row completes the other"
    );
    assert_eq!(run(&["d 2 - -", "k 1 - - > 2 x y"]), ["r 2 x y, d 1"]);
    assert_eq!(run(&["k 1 - - > 1 x ~"]), ["u 1 x ~"], "the old key was sent, and is the new one");
    assert!(refusal(&["i 2 x y", "k 1 - - > 2 x y"]).contains("second row with one key"));
    assert!(refusal(&["d 1 - -", "k 1 - - > 2 x y"]).contains("an earlier change took away"));
}

#[test]
fn chains_and_swaps_of_whole_rows_stay_in_one_load() {
    assert_eq!(run(&["k 1 - - > 2 x y", "k 2 - - > 3 x z"]), ["d 1, d 2, r 3 x z"]);
    let swap = ["k 1 - - > 0 x y", "k 2 - - > 1 p q", "k 0 - - > 2 x y"];
    assert_eq!(run(&swap), ["r 1 p q, d 0, r 2 x y"]);
}

#[test]
fn a_key_change_of_a_row_that_only_redshift_has_is_a_move() {
    assert_eq!(run(&["k 1 - - > 2 x ~"]), ["m 1 -> 2 x ~"]);
    assert_eq!(run(&["u 1 x ~", "k 1 - - > 2 ~ ~"]), ["m 1 -> 2 x ~"], "the update goes along");
    assert_eq!(run(&["k 1 - - > 2 ~ ~"]), ["m 1 -> 2 ~ ~"]);
}

#[test]
fn moves_share_a_load_while_they_are_independent() {
    assert_eq!(run(&["k 1 - - > 2 x ~", "k 3 - - > 4 x ~"]), ["m 1 -> 2 x ~, m 3 -> 4 x ~"]);
    let after_others = ["i 9 x y", "k 1 - - > 2 x ~", "u 8 x ~", "k 3 - - > 4 x ~"];
    assert_eq!(run(&after_others), ["m 1 -> 2 x ~, m 3 -> 4 x ~", "i 9 x y, u 8 x ~"]);
    assert_eq!(run(&["k 1 - - > 2 x ~", "k 2 - - > 3 ~ ~"]), ["m 1 -> 2 x ~", "m 2 -> 3 ~ ~"]);
    assert_eq!(run(&["k 2 - - > 3 x ~", "k 1 - - > 2 ~ ~"]), ["m 2 -> 3 x ~", "m 1 -> 2 ~ ~"]);
    assert_eq!(run(&["d 2 - -", "k 1 - - > 2 x ~"]), ["d 2", "m 1 -> 2 x ~"], "the delete comes first");
    let update_between = ["k 1 - - > 2 x ~", "u 2 p ~", "k 2 - - > 3 ~ ~"];
    assert_eq!(run(&update_between), ["m 1 -> 2 x ~", "m 2 -> 3 p ~"]);
}

#[test]
fn what_follows_a_move_follows_it_in_the_steps() {
    assert_eq!(run(&["k 1 - - > 2 x ~", "u 2 y ~"]), ["m 1 -> 2 x ~", "u 2 y ~"]);
    assert_eq!(run(&["k 1 - - > 2 x ~", "i 1 x y"]), ["m 1 -> 2 x ~", "i 1 x y"], "the old key is free");
    assert_eq!(run(&["k 1 - - > 2 x ~", "d 2 - -"]), ["m 1 -> 2 x ~", "d 2"]);
    assert!(refusal(&["k 1 - - > 2 x ~", "i 2 x y"]).contains("second row with one key"));
    assert!(refusal(&["k 1 - - > 2 x ~", "u 1 x y"]).contains("an earlier change took away"));
}

#[test]
fn composite_keys_do_not_collide() {
    let keys = run_on("ABc", &["i 1 11 x", "i 11 1 x", "i 1 - x", "i - 1 x"]).unwrap();
    assert_eq!(keys, ["i 1 11 x, i 11 1 x, i 1 - x, i - 1 x"]);
    let empty = run_on("AB", &["i  x", "i x ", "i - x"]).unwrap();
    assert_eq!(empty, ["i  x, i x , i - x"], "empty is not NULL");
    assert_eq!(run_on("bAcD", &["d - 1 - 2"]).unwrap(), ["d 1 2"], "the key alone is kept");
}

#[test]
fn a_toasted_key_comes_from_the_old_tuple() {
    assert_eq!(run_on("ABc", &["k 1 long - > 1 ~ x"]).unwrap(), ["r 1 long x"]);
    assert_eq!(run_on("ABcd", &["k 1 long - - > 2 ~ x ~"]).unwrap(), ["m 1 long -> 2 long x ~"]);
    let error = run_on("ABc", &["u 1 ~ x"]).unwrap_err();
    assert!(matches!(&error, BatchError::MissingValue { column, .. } if column == "B"), "{error}");
}

#[test]
fn a_full_old_row_fills_in_what_was_not_sent() {
    let shape = shape("Abc");
    let mut batch = Batch::new();
    update_full(&mut batch, &shape, "1 x y", "2 z ~").unwrap();
    delete(&mut batch, &shape, "3 x y").unwrap();
    assert_eq!(steps(batch), ["d 1, r 2 z y, d 3"]);
}

#[test]
fn an_old_row_that_is_only_marked_as_full_fills_in_its_key_alone() {
    let shape = shape("ABc");
    let mut batch = Batch::new();
    update_full(&mut batch, &shape, "1 long -", "2 ~ ~").unwrap();
    assert_eq!(steps(batch), ["m 1 long -> 2 long ~"]);
}

#[test]
fn rows_of_another_shape_are_refused() {
    assert_eq!(
        run_on("Abc", &["i 1 x"]).unwrap_err(),
        BatchError::ColumnCount { table: "public.t".to_owned(), expected: 3, found: 2 }
    );
    assert!(refusal(&["i 1 x ~"]).contains("the value of column c was not sent with an insert"));
}

#[test]
fn errors_never_hold_values() {
    let secret = "hunter2";
    let changes = [
        vec!["i hunter2 hunter2 y", "i hunter2 hunter2 y"],
        vec!["d hunter2 - -", "u hunter2 x y"],
        vec!["i hunter2 ~ hunter2"],
        vec!["k - - > hunter2 hunter2 ~"],
    ];
    for changes in changes {
        let error = run_on("Abc", &changes).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn a_refused_change_leaves_no_trace() {
    let shape = shape("Abc");
    let mut batch = Batch::new();
    insert(&mut batch, &shape, "1 x y").unwrap();
    let bytes = batch.bytes();
    insert(&mut batch, &shape, "1 p q").unwrap_err();
    rekey(&mut batch, &shape, "2 - -", "1 p ~").unwrap_err();
    assert_eq!((batch.changes(), batch.bytes()), (1, bytes));
    assert_eq!(steps(batch), ["i 1 x y"]);
}
