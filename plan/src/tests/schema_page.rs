//! Holds `docs/schema-changes.md` and the plan together: its SQL is the golden one (`UPDATE_DOCS=1 cargo test`).

use std::path::Path;

use super::schema::golden;

const BEGIN: &str = "<!-- every change: the plan's golden SQL -->\n";
const END: &str = "<!-- end of every change -->";

#[test]
fn the_page_shows_the_sql_of_every_change() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema-changes.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the SQL's beginning is marked");
    let (_, after) = rest.split_once(END).expect("the SQL's end is marked");
    let written = format!("{before}{BEGIN}\n```sql\n{}```\n\n{END}{after}", golden());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    assert!(
        page == written,
        "docs/schema-changes.md is not what the plan says: run UPDATE_DOCS=1 cargo test -p re_dms_plan"
    );
}
