use super::*;

fn example() -> Manifest {
    let column = |name: &str, type_oid, redshift_type: &str, key| Column {
        name: name.into(),
        attribute_number: None,
        type_oid,
        type_modifier: -1,
        target_name: name.to_ascii_lowercase(),
        redshift_type: redshift_type.parse().unwrap(),
        key,
    };
    let table = Table {
        schema: "public".into(),
        name: "Orders".into(),
        oid: 16_400,
        target_schema: "public".into(),
        target_name: "orders".into(),
        columns: vec![column("id", 20, "BIGINT", true), column("Note", 25, "VARCHAR(65535)", false)],
        kept: Vec::new(),
        layout: Layout::default(),
    };
    let load = Load {
        copy_manifest: "main/E/segments/000000000002/0002-public.Orders-a1.copy.json".into(),
        files: vec![DataFile {
            key: "main/E/segments/000000000002/0002-public.Orders-001-a1.csv.gz".into(),
            rows: 3,
            bytes: 120,
            sha256: "ab".repeat(32),
        }],
        compression: Compression::Gzip,
        rows: RowCounts { inserts: 1, updates: 1, deletes: 1, ..RowCounts::default() },
        tagged_keys: false,
        present_sets: vec![vec![0]],
        altered: vec![Altered { column: "Note".into(), policy: "truncate".into(), values: 1 }],
    };
    let mut wider = table.clone();
    wider.columns[1].name = "Remark".into();
    wider.columns[1].target_name = "remark".into();
    wider.columns.push(column("state", 1043, "VARCHAR(40)", false));
    Manifest {
        format: 3,
        stream: "main".into(),
        epoch: "7-1-re_dms_main-0000000000000010".into(),
        seq: 2,
        predecessor: Some(Predecessor { seq: 1, sha256: "cd".repeat(32) }),
        start_lsn: Lsn(0x10),
        end_lsn: Lsn(0x1_0000_0020),
        first_commit_time: "2026-01-02T03:04:05.000006Z".parse().unwrap(),
        last_commit_time: "2026-01-02T03:04:06Z".parse().unwrap(),
        transactions: 2,
        captured_by: "re_dms 0.1.0".into(),
        shapes: Some("main/E/segments/000000000002/shapes-a1.json".into()),
        copy: None,
        after_copy: None,
        restores: None,
        steps: vec![
            Step { number: 1, table: table.clone(), action: Action::Truncate },
            Step { number: 2, table: table.clone(), action: Action::Load(load) },
            Step { number: 3, table: wider, action: Action::Schema(change(table)) },
        ],
    }
}

fn change(before: Table) -> SchemaChange {
    let renamed = TableChange::RenameColumn { from: "note".into(), to: "remark".into() };
    let added = TableChange::AddColumn { column: "state".into(), fill: Fill::Value("new".into()) };
    SchemaChange { before: Some(before), changes: vec![renamed, added], unproven: Vec::new(), hold: false }
}

/// The text is a format that other versions read: a change of it is a change of `FORMAT`.
#[test]
fn the_text_is_what_the_documentation_shows() {
    insta::assert_snapshot!(String::from_utf8(example().to_json().unwrap()).unwrap());
}

#[test]
fn survives_the_round_trip() {
    let manifest = example();
    assert_eq!(Manifest::from_json(&manifest.to_json().unwrap()).unwrap(), manifest);
}

#[test]
fn a_newer_format_is_refused_whatever_its_shape() {
    let newer = FORMAT + 1;
    let json = format!(r#"{{"format": {newer}, "anything": "else"}}"#);
    let error = Manifest::from_json(json.as_bytes()).unwrap_err();
    assert!(error.to_string().contains(&format!("format {newer}")), "{error}");
    assert!(error.to_string().contains("hint: update the loader"), "{error}");
}

/// So that a loader which does not know it refuses instead of reading zstd as gzip.
#[test]
fn zstd_takes_format_3_and_says_so() {
    let mut manifest = example();
    manifest.steps.retain(|step| !matches!(step.action, Action::Schema(_)));
    assert_eq!(lowest_format(&manifest.steps), 2);
    let Action::Load(load) = &mut manifest.steps[1].action else { panic!("a load") };
    load.compression = Compression::Zstd;
    assert_eq!(lowest_format(&manifest.steps), 3);
    let json = manifest.to_json().unwrap();
    assert!(String::from_utf8_lossy(&json).contains(r#""compression": "zstd""#));
    assert_eq!(Manifest::from_json(&json).unwrap(), manifest);
}

#[test]
fn a_manifest_has_the_lowest_format_that_says_all() {
    let steps = example().steps;
    assert_eq!((lowest_format(&steps[..2]), lowest_format(&steps)), (2, 3));
}

#[test]
fn a_chunk_takes_format_6_and_says_its_range() {
    let load = example().steps.iter().find_map(|step| step.action.load().cloned()).unwrap();
    let from = Some(KeyBound { key: vec!["1".into(), "b".into()], included: false });
    let range = KeyRange { from, to: None };
    let chunk = Chunk { key: vec!["id".into(), "part".into()], ranges: vec![range], load };
    let step = Step { action: Action::Chunk(chunk), ..example().steps[0].clone() };
    assert_eq!(lowest_format(std::slice::from_ref(&step)), 6);
    let json = serde_json::to_value(&step).unwrap();
    assert_eq!(
        (&json["kind"], &json["ranges"][0]),
        (&"chunk".into(), &serde_json::json!({"from": {"key": ["1", "b"], "included": false}}))
    );
    assert_eq!(serde_json::from_value::<Step>(json).unwrap(), step);
}

#[test]
fn what_lies_before_a_tables_snapshot_is_in_its_copy() {
    let table = CopiedTable { oid: 7, schema: "public".into(), name: "t".into(), snapshot: Lsn(100) };
    let copied = CopiedTables { format: 1, shapes: "s".into(), tables: vec![table.clone()] };
    assert!(copied.holds(7, Lsn(100)) && !copied.holds(7, Lsn(101)) && !copied.holds(8, Lsn(1)));
    let manifest =
        Manifest { format: COPY_FORMAT, copy: Some(table), after_copy: Some("k".into()), ..example() };
    assert_eq!(Manifest::from_json(&manifest.to_json().unwrap()).unwrap(), manifest);
}

/// As the first version wrote it.
#[test]
fn format_1_is_read() {
    let mut json: serde_json::Value = serde_json::from_slice(&example().to_json().unwrap()).unwrap();
    json["format"] = 1.into();
    json["steps"].as_array_mut().unwrap().pop();
    json.as_object_mut().unwrap().remove("shapes");
    json["steps"][1]["rows"].as_object_mut().unwrap().remove("removes");
    let read = Manifest::from_json(json.to_string().as_bytes()).unwrap();
    let steps = example().steps[..2].to_vec();
    assert_eq!(read, Manifest { format: 1, shapes: None, steps, ..example() });
}

#[test]
fn copy_manifests_make_every_file_mandatory() {
    let Action::Load(load) = &example().steps[1].action else { panic!("a load") };
    insta::assert_snapshot!(String::from_utf8(copy_manifest_json("bucket", &load.files)).unwrap());
}
