//! Every link between the project's documents leads somewhere: the file is there, and so is the heading.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::tools::project;

/// Folders that hold nothing of ours.
const LEFT_OUT: [&str; 3] = ["target", "node_modules", "test-results"];

fn documents(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && !LEFT_OUT.contains(&name) {
            documents(&path, found)?;
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
    Ok(())
}

/// A document's lines that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    })
}

/// What headings are called in links, as GitHub makes it of them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (0..).map(|n| if n == 0 { name.clone() } else { format!("{name}-{n}") });
        anchors.extend(again.into_iter().find(|name| !anchors.contains(name)));
    }
    anchors
}

/// The targets of `[…](…)`, over all lines: a link's text may go on in the next one.
fn links(text: &str) -> Vec<String> {
    let prose: Vec<_> = prose(text).collect();
    let prose = prose.join("\n");
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// Links in a folder's documents that lead nowhere, and how many links there are.
pub(crate) fn wrong_links(folder: &Path) -> Result<(Vec<String>, usize)> {
    let folder = folder.canonicalize()?;
    let mut found = Vec::new();
    documents(&folder, &mut found)?;
    let mut texts = BTreeMap::new();
    for path in found {
        let text = std::fs::read_to_string(&path)?;
        texts.insert(path, text);
    }
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (path, text) in &texts {
        for link in links(text).iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            count += 1;
            let (file, anchor) = match link.split_once('#') {
                Some((file, anchor)) => (file, Some(anchor)),
                None => (link.as_str(), None),
            };
            let target = match file {
                "" => path.clone(),
                file => path.parent().context("a document is in a folder")?.join(file),
            };
            let is_there = match (target.canonicalize(), anchor) {
                (Err(_), _) => false,
                (Ok(_), None) => true,
                (Ok(target), Some(anchor)) => {
                    texts.get(&target).is_some_and(|text| anchors(text).contains(anchor))
                }
            };
            if !is_there {
                wrong.push(format!("{}: {link}", path.strip_prefix(&folder)?.display()));
            }
        }
    }
    Ok((wrong, count))
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let (wrong, count) = wrong_links(&project())?;
    ensure!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));
    ensure!(count > 100, "only {count} links were found");
    Ok(())
}

#[test]
fn headings_are_called_as_github_calls_them() {
    let text =
        "# A `b_c`, d!\n```\n# no heading\n```\n## Twice\n## Twice\nsee [x](#twice-1) and\n[y\nz](a.md#b)\n";
    assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), ["a-b_c-d", "twice", "twice-1"]);
    assert_eq!(links(text), ["#twice-1", "a.md#b"]);
}
