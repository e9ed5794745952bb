//! A room of the engine imports only from floors below it. The floors are those of the table in docs/architecture.md. And what tells
//! operating systems apart stands in the host room and in the door's `system.rs`, but for the files that docs/platforms.md lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Who stands on whom on the same floor, as that page says.
const SAME_FLOOR: [(&str, &str); 5] =
    [("control", "inspect"), ("forward", "flow"), ("flow", "config"), ("flow", "capture"), ("link", "ip")];
/// The one file with a floor of its own.
const VECTOR: &str = "vector";

/// The floor of each room, from the page's table.
fn floors() -> BTreeMap<String, u32> {
    let page = fs::read_to_string("docs/architecture.md").unwrap();
    let mut floors = BTreeMap::from([("time".to_owned(), 0)]);
    for row in page.lines() {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (Some(Ok(floor)), Some(rooms)) = (cells.next().map(str::parse::<u32>), cells.next()) else { continue };
        let rooms = rooms.split('`').skip(1).step_by(2).filter_map(|room| room.strip_suffix('/'));
        floors.extend(rooms.map(|room| (room.to_owned(), floor)));
    }
    floors
}

/// Every import of a folder: the file, and the room and file that it names.
fn imports(folder: &Path, found: &mut Vec<(String, String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // Tests may look at whatever they like.
        if ["tests", "sim", "properties"].contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            imports(&path, found);
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
        for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for import in line.split("crate::").skip(1) {
                let mut words = import.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let room = words.next().unwrap().to_owned();
                let file = words.find(|word| !word.is_empty()).unwrap_or_default().to_owned();
                found.push((path.display().to_string(), room, file));
            }
        }
    }
}

#[test]
fn rooms_import_from_lower_floors_only() {
    let floors = floors();
    let rooms: BTreeSet<String> = fs::read_dir("engine/src")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut upwards = Vec::new();
    let mut seen = 0;
    for room in &rooms {
        let floor = *floors.get(room).unwrap_or_else(|| panic!("docs/architecture.md has no floor for {room}"));
        let mut all = Vec::new();
        imports(&Path::new("engine/src").join(room), &mut all);
        for (file, other, inner) in all {
            let Some(&below) = floors.get(&other) else { continue };
            if other == *room {
                continue;
            }
            seen += 1;
            let fine = below < floor
                || SAME_FLOOR.contains(&(room.as_str(), other.as_str()))
                || (other == "host" && inner == VECTOR);
            if !fine {
                upwards.push(format!("{file} imports {other} (floor {below}) from floor {floor}"));
            }
        }
    }
    assert!(seen > 200, "only {seen} imports were found");
    assert!(upwards.is_empty(), "{}", upwards.join("\n"));
}

/// Where systems and the numbers of their errors belong.
const ROOMS_OF_SYSTEMS: [&str; 3] = ["engine/src/host/", "src/system.rs", "src/sockets.rs"];

/// Every source file of the engine and the door outside of these, without comments.
fn other_sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string().replace('\\', "/");
        if path.is_dir() {
            other_sources(&path, found);
        } else if name.ends_with(".rs") && !ROOMS_OF_SYSTEMS.iter().any(|room| name.starts_with(room)) {
            let source = fs::read_to_string(&path).unwrap();
            let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            found.push((name, code.join("\n")));
        }
    }
}

/// What stands between the brackets of each `cfg(…)`, `cfg_attr(…)` and `cfg!(…)`.
fn conditions(code: &str) -> Vec<&str> {
    let starts = ["cfg(", "cfg_attr(", "cfg!("].into_iter().flat_map(|start| code.split(start).skip(1));
    let end = |rest: &&str| {
        let mut depth = 1;
        rest.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        })
    };
    starts.map(|rest| &rest[..end(&rest).unwrap_or(rest.len())]).collect()
}

/// Whether a text has this as a whole word.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|one| one == word)
}

#[test]
fn systems_are_told_apart_where_the_page_says() {
    let page = fs::read_to_string("docs/platforms.md").unwrap();
    let (_, listed) = page.split_once("## Where a system is named outside the host room").unwrap();
    let listed: BTreeSet<String> = listed
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    let mut sources = Vec::new();
    other_sources(Path::new("engine/src"), &mut sources);
    other_sources(Path::new("src"), &mut sources);
    let mut named = BTreeSet::new();
    let mut wrong = Vec::new();
    for (name, code) in &sources {
        for condition in conditions(code) {
            if ["target_os", "target_vendor", "target_family", "target_env"]
                .iter()
                .any(|word| has_word(condition, word))
            {
                wrong.push(format!("{name}: {condition}"));
            }
            if ["unix", "windows"].iter().any(|word| has_word(condition, word)) {
                named.insert(name.clone());
            }
        }
        let errors = code.split("libc::E").skip(1).filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
        wrong.extend(errors.map(|rest| format!("{name}: libc::E{}", &rest[..rest.len().min(12)])));
    }
    assert!(sources.len() > 300, "only {} files were found", sources.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(named, listed, "left: the sources, right: docs/platforms.md");
}

#[test]
fn conditions_are_found_whole() {
    let code = "#[cfg(all(unix, not(x)))]\n#[cfg_attr(\n  target_os = \"a\",\n  b(c)\n)]\nif cfg!(windows) {}";
    assert_eq!(conditions(code), ["all(unix, not(x))", "\n  target_os = \"a\",\n  b(c)\n", "windows"]);
    assert!(has_word("not(unix)", "unix") && !has_word("feature = \"unixes\"", "unix"));
}
