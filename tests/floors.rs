//! A room of the engine imports only from floors below it. The floors are those of the table in docs/architecture.md.

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
