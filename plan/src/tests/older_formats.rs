//! Segments that older versions staged are loaded: their manifests, as they wrote them, make plans.

use std::path::Path;

use super::*;

#[test]
fn manifests_of_every_format_are_planned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/formats");
    let mut plans = Vec::new();
    for format in 1..=5 {
        let json = std::fs::read(folder.join(format!("manifest-{format}.json"))).unwrap();
        let manifest = Manifest::from_json(&json).unwrap();
        let segment = StagedSegment {
            manifest: &manifest,
            manifest_sha256: "ab",
            bucket: "bucket",
            manifest_key: "main/E/segments/000000000002/manifest.json",
        };
        let input = Input {
            segments: &[segment],
            copy: &CopySettings { role: None, region: None },
            catalog: &Catalog::default(),
            log: &TableLog::default(),
        };
        let plan = super::super::plan(&input, &BTreeMap::new()).unwrap();
        let purposes: Vec<_> =
            plan.statements.iter().map(|statement| format!("{:?}", statement.purpose)).collect();
        plans.push(format!("{format}: {}", purposes.join(" ")));
    }
    insta::assert_snapshot!(plans.join("\n"));
}
