//! `docs/testing.md` names the test of each known hole. The tests it names have to exist, and the tests named after a hole
//! have to be in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of all functions in the Rust files under `folder`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let after_fn =
                source.split("#[test]").skip(1).filter_map(|after| after.split_once("fn ")).map(|found| found.1);
            names.extend(after_fn.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
            let of_both = source.split("both_families![").skip(1).filter_map(|after| after.split_once(']'));
            let listed = of_both.flat_map(|(list, _)| list.split(',')).map(str::trim);
            names.extend(listed.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
}

/// The names between backquotes in the table of holes.
fn named(page: &str) -> BTreeSet<&str> {
    let table = page.split_once("## Known holes").expect("the page has a section of known holes").1;
    let rows = table.lines().filter(|line| line.starts_with('|'));
    rows.filter_map(|row| row.rsplit('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_tests_of_known_holes_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/testing.md")).unwrap();
    let named = named(&page);
    assert!(named.len() > 20, "only {} tests are named", named.len());
    let mut tests = BTreeSet::new();
    functions(&root.join("tests"), &mut tests);
    functions(&root.join("src"), &mut tests);
    functions(&root.join("engine/src"), &mut tests);
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/testing.md names tests that do not exist: {missing:?}");
    let holes = |name: &&String| name.starts_with("cve_") || name.starts_with("bug_");
    let unlisted: Vec<_> = tests.iter().filter(holes).filter(|name| !named.contains(name.as_str())).collect();
    assert!(unlisted.is_empty(), "docs/testing.md does not name {unlisted:?}");
}

/// The tests of `docs/earnest.md`, which is a table of what was found in earnest use.
#[test]
fn the_tests_of_what_broke_in_earnest_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/earnest.md")).unwrap();
    let mut tests = BTreeSet::new();
    functions(&root.join("tests"), &mut tests);
    functions(&root.join("src"), &mut tests);
    functions(&root.join("engine/src"), &mut tests);
    let quoted = page.split('`').skip(1).step_by(2);
    let named: BTreeSet<&str> = quoted.filter(|name| name.starts_with("earnest_") && !name.ends_with('_')).collect();
    assert!(named.len() > 100, "only {} tests are named", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/earnest.md names tests that do not exist: {missing:?}");
}
