//! Comments name the pages that they rest on (`docs/contract/tcp.md section 5`). Each page they name has to exist, and so do
//! the section, the fact and the heading. The same holds for pages that name pages, for the files that `docs/` names, and
//! for the crates of `docs/dependencies.md`. What is made from pages, as the manual is, is current.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The list whose texts are named after pages of the contract.
const DIFFERENCES: &str = "tests/common/differences.rs";

/// All files of the project that may hold text. What is built and what a fuzzer found is not among them.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if name.starts_with('.') || ["target", "corpus", "Cargo.lock"].contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The comments of a source file; lines that follow each other are one comment. All of a page is its text, paragraph by
/// paragraph.
fn comments(path: &Path, source: &str) -> Vec<String> {
    let (whole, inside) = match path.extension().and_then(|e| e.to_str()) {
        Some("md") => return source.split("\n\n").map(str::to_owned).collect(),
        Some("rs" | "c" | "h") => (["//", "/*", "*"].as_slice(), " // "),
        _ => (["#"].as_slice(), " # "),
    };
    let mut found = vec![String::new()];
    let mut in_text = false;
    for line in source.lines() {
        let trimmed = line.trim_start();
        let quotes = if whole[0] == "#" { line.matches("\"\"\"").count() } else { 0 };
        let text = if in_text || quotes > 0 {
            Some(trimmed)
        } else if whole.iter().any(|mark| trimmed.starts_with(mark)) {
            Some(trimmed.trim_start_matches(['/', '*', '#', '!']))
        } else {
            None
        };
        in_text ^= quotes % 2 == 1;
        match (text, line.split_once(inside)) {
            (Some(text), _) => *found.last_mut().unwrap() += &format!(" {}", text.trim()),
            (None, Some((_, text))) => found.extend([text.to_owned(), String::new()]),
            (None, None) => found.push(String::new()),
        }
    }
    found.retain(|comment| !comment.is_empty());
    found
}

/// A heading of a page: its depth, its number or letter (`2.1`, `A3`, `B`), and its words.
struct Heading<'a> {
    depth: usize,
    number: &'a str,
    words: &'a str,
    /// The lines up to the next heading.
    body: Vec<&'a str>,
}

fn headings(page: &str) -> Vec<Heading<'_>> {
    let mut found: Vec<Heading> = Vec::new();
    let mut in_code = false;
    for line in page.lines() {
        in_code ^= line.starts_with("```");
        let depth = line.bytes().take_while(|&b| b == b'#').count();
        if depth > 0 && !in_code {
            let words = line[depth..].trim();
            let number = words.strip_prefix("Part ").unwrap_or(words);
            let number = number.split_whitespace().next().unwrap_or("").trim_end_matches(['.', ':']);
            found.push(Heading { depth, number, words, body: Vec::new() });
        } else if let Some(heading) = found.last_mut() {
            heading.body.push(line);
        }
    }
    found
}

impl Heading<'_> {
    /// Whether item `number` stands in the numbered list below.
    fn has_item(&self, number: &str) -> bool {
        self.body.iter().any(|line| line.strip_prefix(number).is_some_and(|rest| rest.starts_with(". ")))
    }
}

/// Takes the next word that could be a number of a section (`4`, `2.1`, `A3`, `B`) off `rest`.
fn number<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
    let word = rest[..end].trim_end_matches('.');
    let digits = word.strip_prefix(|c: char| c.is_ascii_uppercase()).unwrap_or(word);
    if word.is_empty() || digits.chars().any(|c| !c.is_ascii_digit() && c != '.') {
        return None;
    }
    *rest = &rest[word.len()..];
    Some(word)
}

/// All numbers of `4`, `2.1, 6 and 9`, `3 to 5`; of the last kind the ends.
fn numbers<'a>(rest: &mut &'a str) -> Vec<&'a str> {
    let mut found = Vec::new();
    loop {
        match number(rest) {
            Some(word) => found.push(word),
            None => return found,
        }
        let Some(next) = [", ", " and ", " to ", "–"].iter().find_map(|join| rest.strip_prefix(join)) else {
            return found;
        };
        if number(&mut { next }).is_none() {
            return found;
        }
        *rest = next;
    }
}

/// What `rest`, the text behind the name of a page, names of that page and is not there.
fn missing_in(page: &str, mut rest: &str) -> Vec<String> {
    let headings = headings(page);
    let mut missing = Vec::new();
    let mut section = None;
    loop {
        rest = rest.trim_start_matches(['`', ')', ']', ',', ' ', '\n']);
        let word_end = rest.find([' ', '\n']).unwrap_or(rest.len());
        let (word, mut after) = (&rest[..word_end], rest[word_end..].trim_start());
        let of_lists = |what: &str, number: &str| {
            headings.iter().any(|heading| heading.words.contains(what) && heading.has_item(number))
        };
        if let Some((heading, behind)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
            if !headings.iter().any(|found| found.words.starts_with(heading)) {
                missing.push(format!("heading \"{heading}\""));
            }
            rest = behind;
            continue;
        }
        let kind = word.strip_suffix('s').filter(|_| word != "class").unwrap_or(word);
        let named = match kind {
            "section" | "part" | "fact" | "class" | "item" => numbers(&mut after),
            _ => {
                if word.trim_end_matches(':') == "oddities"
                    && !headings.iter().any(|heading| heading.words.starts_with("Upstream oddities"))
                {
                    missing.push("Upstream oddities".to_owned());
                }
                return missing;
            }
        };
        for number in &named {
            let found = match kind {
                "section" | "part" => {
                    section = headings.iter().find(|heading| heading.depth <= 3 && heading.number == *number);
                    section.is_some()
                }
                "fact" => of_lists("Observable facts", number),
                "class" => of_lists("classes", number),
                _ => section.is_some_and(|section| section.has_item(number)),
            };
            if !found {
                missing.push(format!("{kind} {number}"));
            }
        }
        if named.is_empty() {
            return missing;
        }
        rest = after;
    }
}

/// The names of pages in a text, each with what stands behind it.
fn named_pages(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices(".md").filter_map(move |(dot, _)| {
        let (before, behind) = (&text[..dot], &text[dot + 3..]);
        if behind.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return None;
        }
        let part = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
        let start =
            before.rfind(|c: char| !part(c)).map_or(0, |at| at + before[at..].chars().next().unwrap().len_utf8());
        let name = &text[start..dot + 3];
        // The words of a link are not looked up; where it leads is.
        (name.len() > 3 && !name.contains("//") && !behind.starts_with("](")).then_some((name, behind))
    })
}

/// What the text of a file names and is not there. A name counts from the first of `folders` that has it.
fn missing(text: &str, folders: &[&Path]) -> Vec<String> {
    let of_page = |(name, behind): (&str, &str)| {
        let Some(path) = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()) else {
            return vec![name.to_owned()];
        };
        let page = fs::read_to_string(path).unwrap();
        missing_in(&page, behind).iter().map(|what| format!("{name} {what}")).collect()
    };
    named_pages(text).flat_map(of_page).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the project that is text, with its path from the root.
fn sources() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    files(root(), &mut paths);
    let read = |path: PathBuf| Some((path.strip_prefix(root()).unwrap().to_owned(), fs::read_to_string(path).ok()?));
    paths.into_iter().filter_map(read).collect()
}

#[test]
fn every_page_and_section_that_a_comment_names_exists() {
    let contract = root().join("docs/contract");
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (path, source) in sources() {
        let folder = root().join(&path).parent().unwrap().to_owned();
        let mut texts: Vec<(String, &Path)> =
            comments(&path, &source).into_iter().map(|text| (text, &*folder)).collect();
        if path == Path::new(DIFFERENCES) {
            texts.extend(source.split('"').skip(1).step_by(2).map(|text| (text.to_owned(), &*contract)));
        }
        if path.file_name() == Some("sources.rs".as_ref()) {
            continue;
        }
        for (text, folder) in texts {
            checked += named_pages(&text).count();
            wrong.extend(missing(&text, &[root(), folder]).iter().map(|what| format!("{}: {what}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "named and not there:\n{}", wrong.join("\n"));
    assert!(checked > 250, "only {checked} names were found");
}

/// Files between backquotes in the pages, such as `tcp/pool.rs`: the end of a path is enough.
#[test]
fn every_file_that_a_page_names_exists() {
    let sources = sources();
    let known = |name: &str| sources.iter().any(|(path, _)| path.ends_with(name));
    let mut wrong = Vec::new();
    let pages = sources
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "md") && !path.starts_with("docs/contract"));
    for (path, page) in pages {
        let quoted = page.split('`').skip(1).step_by(2);
        let names = quoted.filter(|name| name.contains('/') && [".rs", ".py"].iter().any(|end| name.ends_with(end)));
        let names = names.filter(|name| !name.contains([' ', '*']));
        let relative = |name: &str| root().join(path).parent().unwrap().join(name).is_file();
        wrong.extend(names.filter(|name| !known(name) && !relative(name)).map(|name| (path, name)));
    }
    assert!(wrong.is_empty(), "named and not there: {wrong:?}");
}

/// The crates that a manifest names, but for those of this project.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut within = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            within = line.trim_end_matches(']').ends_with("dependencies");
            return None;
        }
        let (name, what) = line.split_once(['=', '.']).filter(|_| within && !line.starts_with('#'))?;
        let ours = what.contains("path = ") || name.trim() == "oxislirp";
        (!ours).then_some(name.trim())
    })
}

/// The crates and the files of each row of a table: what is between backquotes in the first and in the second column.
fn rows(page: &str) -> impl Iterator<Item = (Vec<&str>, Vec<&str>)> {
    page.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let mut cells = line.split('|').skip(1).map(|cell| cell.split('`').skip(1).step_by(2).collect());
        (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
    })
}

/// `docs/dependencies.md` has every crate that a manifest names and no other, and each is used where the page says.
#[test]
fn every_dependency_has_its_line_and_is_used_where_that_says() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let manifests: Vec<_> = sources().into_iter().filter(|(path, _)| path.ends_with("Cargo.toml")).collect();
    assert!(manifests.len() >= 4, "only {} manifests were found", manifests.len());
    let wanted: BTreeSet<&str> = manifests.iter().flat_map(|(_, manifest)| dependencies(manifest)).collect();
    let page = read("docs/dependencies.md");
    let listed: BTreeSet<&str> = rows(&page).flat_map(|(crates, _)| crates).collect();
    assert_eq!(listed, wanted, "docs/dependencies.md on the left, the manifests on the right");
    for (crates, files) in rows(&page) {
        assert!(!files.is_empty(), "{crates:?} is used nowhere");
        for (name, file) in crates.iter().flat_map(|name| files.iter().map(move |file| (name, file))) {
            let name = name.replace('-', "_");
            let used = [format!("{name}::"), format!("{name}!")].iter().any(|use_| read(file).contains(use_.as_str()));
            assert!(used, "{file} does not use {name}");
        }
    }
}

/// `README.md` shows the program that the documentation of the engine begins with, which is compiled and run.
#[test]
fn the_program_of_the_readme_is_the_one_that_is_tested() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let readme = read("README.md");
    let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let tested: String = read("engine/src/lib.rs")
        .lines()
        .skip_while(|line| *line != "//! ```")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| format!("{}\n", line.trim_start_matches("//!").strip_prefix(' ').unwrap_or_default()))
        .collect();
    assert!(shown.lines().count() >= 20);
    assert_eq!(shown, tested);
}

/// The manual pages that are made from `docs/` and from the headers.
#[test]
fn the_manual_is_current() {
    let check = std::process::Command::new("python3").arg(root().join("man/generate.py")).arg("--check").output();
    let check = check.expect("python3 is there, as for the other scripts");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

/// The checks themselves, on a page made up for it.
#[test]
fn what_is_missing_is_found() {
    let page = "# Part A: one\n\n## A1. First\n\n## 2. Second\n\n3. item\n\n### 2.1 Third\n\n## Observable facts a test can check\n\n\
                1. one\n12. twelve\n\n## Upstream oddities: keep\n";
    for good in [
        " section 2",
        " sections 2.1 and A1.",
        "` part A, then",
        ", \"Upstream oddities\"",
        " fact 12: text",
        " facts 1 to 12",
        ")",
        " section 2, item 3",
        " section 2, which says",
        " oddities: a",
        " sections 2, 2.1 and 2, or more",
        " says so",
    ] {
        assert_eq!(missing_in(page, good), Vec::<String>::new(), "{good}");
    }
    for (bad, what) in [
        (" section 3", "section 3"),
        (" sections 2, 2.2 and 2.1", "section 2.2"),
        (") fact 2", "fact 2"),
        (", \"Later\"", "heading \"Later\""),
        (" section 2, item 4", "item 4"),
        (", part B", "part B"),
        (" section 2 and fact 3", "fact 3"),
    ] {
        // The last one is about one page only when "and" joins numbers.
        let expected = if bad.contains("and fact") { Vec::new() } else { vec![what.to_owned()] };
        assert_eq!(missing_in(page, bad), expected, "{bad}");
    }
    assert_eq!(missing_in("# Nothing\n", " oddities"), ["Upstream oddities"]);
    let names = |text| named_pages(text).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        names("see `docs/a.md`, ../b.md and c.mdx, https://x/y.md or 'd-e.md'."),
        ["docs/a.md", "../b.md", "d-e.md"]
    );
    assert_eq!(missing("see found-2.md section 3", &[root()]), ["found-2.md"]);
    assert_eq!(missing("see docs/contract/tcp.md section 99", &[root()]), ["docs/contract/tcp.md section 99"]);
    let rust = comments(
        Path::new("a.rs"),
        "//! one.md\n//! section 2\nlet x = 1; // two.md\nfn f() {}\n    /// three\n    /// more\n",
    );
    assert_eq!(rust, [" one.md section 2", "two.md", " three more"]);
    let python = comments(Path::new("a.py"), "\"\"\"one\ntwo\"\"\"\nx = 1\n# three\n");
    assert_eq!(python, [" \"\"\"one two\"\"\"", " three"]);
}

#[test]
fn crates_of_manifests_and_pages_are_found() {
    let manifest = "[workspace.dependencies]\noxislirp = { path = \"engine\" }\na-b = \"1\"\n[features]\nf = []\n\
                    [dev-dependencies]\n# c = \"1\"\nd.workspace = true\noxislirp.workspace = true\n";
    assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["a-b", "d"]);
    let page = "| crate | where |\n|---|---|\n| `a`, `b` | `x.rs`, y | `no` |\n| none |\n";
    assert_eq!(rows(page).collect::<Vec<_>>(), [(vec!["a", "b"], vec!["x.rs"])]);
}
