//! Steps across tables, TRUNCATE, changing shapes, and the count of memory.

use super::*;

#[test]
fn tables_keep_the_order_in_which_they_first_changed() {
    let (one, two) = (named_shape(1, "one", "Ab"), named_shape(2, "two", "Ab"));
    let mut batch = Batch::new();
    insert(&mut batch, &two, "1 x").unwrap();
    insert(&mut batch, &one, "2 x").unwrap();
    insert(&mut batch, &two, "3 x").unwrap();
    assert_eq!(steps(batch), ["i 1 x, i 3 x", "i 2 x"]);
}

#[test]
fn truncate_wipes_what_is_open_and_is_a_step() {
    let (one, two) = (named_shape(1, "one", "Abc"), named_shape(2, "two", "Ab"));
    let mut batch = Batch::new();
    insert(&mut batch, &two, "1 x").unwrap();
    insert(&mut batch, &one, "1 x y").unwrap();
    rekey(&mut batch, &one, "2 - -", "3 x ~").unwrap();
    batch.truncate(&one);
    insert(&mut batch, &one, "1 p q").unwrap();
    assert_eq!(batch.changes(), 5);
    assert_eq!(steps(batch), ["truncate one", "i 1 x", "i 1 p q"]);
}

#[test]
fn another_shape_closes_the_load_before_it() {
    let mut batch = Batch::new();
    insert(&mut batch, &shape("Ab"), "1 x").unwrap();
    insert(&mut batch, &shape("Ab"), "2 x").unwrap();
    insert(&mut batch, &shape("Abc"), "3 x y").unwrap();
    update(&mut batch, &shape("Abc"), "1 x ~").unwrap();
    let steps = batch.into_steps();
    let columns: Vec<usize> = steps.iter().map(|step| step.shape.columns().len()).collect();
    assert_eq!(columns, [2, 3], "shapes that are equal are one shape");
}

#[test]
fn a_table_made_anew_comes_after_the_one_before() {
    let (old, other, new) =
        (named_shape(1, "t", "Ab"), named_shape(2, "other", "Ab"), named_shape(3, "other", "Ab"));
    let renamed = named_shape(2, "t", "Ab");
    let mut batch = Batch::new();
    insert(&mut batch, &other, "1 other").unwrap();
    insert(&mut batch, &old, "1 old").unwrap();
    insert(&mut batch, &renamed, "2 renamed").unwrap();
    insert(&mut batch, &new, "2 new").unwrap();
    insert(&mut batch, &old, "2 old").unwrap();
    insert(&mut batch, &renamed, "3 renamed").unwrap();
    let by_target = |target: &str, steps: &[StepData]| -> Vec<u32> {
        let tables = steps.iter().map(|step| step.shape.table());
        tables.filter(|table| table.target_name == target).map(|table| table.oid).collect()
    };
    let steps = batch.into_steps();
    assert_eq!(by_target("t", &steps), [1, 2, 1, 2]);
    assert_eq!(by_target("other", &steps), [2, 3]);
}

#[test]
fn nothing_comes_of_nothing() {
    let mut batch = Batch::new();
    assert!(batch.is_empty());
    assert_eq!(batch.bytes(), 0);
    update(&mut batch, &shape("Ab"), "1 ~").unwrap();
    assert!(!batch.is_empty(), "a change was received");
    assert!(batch.into_steps().is_empty());
}

#[test]
fn memory_follows_what_is_held() {
    let shape = shape("Abc");
    let wide = "w".repeat(1_000);
    let mut batch = Batch::new();
    for key in 0..1_000 {
        insert(&mut batch, &shape, &format!("{key} {wide} y")).unwrap();
    }
    let inserted = batch.bytes();
    assert!((1_020_000..1_250_000).contains(&inserted), "{inserted}");
    for key in 0..1_000 {
        update(&mut batch, &shape, &format!("{key} {wide} z")).unwrap();
    }
    assert_eq!(batch.bytes(), inserted, "updates take the place of what they change");
    for key in 0..1_000 {
        delete(&mut batch, &shape, &format!("{key} - -")).unwrap();
    }
    assert!(batch.bytes() < 200_000, "{}", batch.bytes());
    for key in 0..1_000 {
        rekey(&mut batch, &shape, &format!("old{key} - -"), &format!("new{key} {wide} ~")).unwrap();
    }
    assert!(batch.bytes() > 1_020_000, "{}", batch.bytes());
    batch.truncate(&shape);
    assert!(batch.bytes() < 1_000, "{}", batch.bytes());
}

#[test]
fn closed_loads_count_too() {
    let mut batch = Batch::new();
    let wide = "w".repeat(10_000);
    insert(&mut batch, &shape("Ab"), &format!("1 {wide}")).unwrap();
    insert(&mut batch, &shape("Abc"), "2 x y").unwrap();
    assert!((10_000..11_500).contains(&batch.bytes()), "{}", batch.bytes());
}

#[test]
fn columns_that_become_one_in_redshift_are_refused() {
    let column = |name: &str| SourceColumn {
        name: name.to_owned(),
        attribute_number: None,
        type_oid: TEXT,
        type_modifier: -1,
        key: false,
    };
    let error = TableShape::new(1, ("s", "t"), ("s", "t"), vec![column("id"), column("ID")]).unwrap_err();
    assert!(error.to_string().starts_with("table s.t: column ID gets the name \"id\""), "{error}");
}

#[test]
fn a_table_that_is_read_anew_has_its_changes_on_either_side() {
    let (one, two) = (named_shape(1, "one", "Ab"), named_shape(2, "two", "Ab"));
    let mut batch = Batch::new();
    insert(&mut batch, &one, "1 x").unwrap();
    insert(&mut batch, &two, "1 x").unwrap();
    batch.resync(&one);
    update(&mut batch, &one, "1 y").unwrap();
    insert(&mut batch, &two, "2 x").unwrap();
    assert!(!batch.is_empty());
    assert_eq!(steps(batch), ["i 1 x", "resync one", "r 1 y", "i 1 x, i 2 x"]);
}
