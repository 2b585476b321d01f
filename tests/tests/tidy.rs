//! The shape of the source: who may import whom, how long a file may be, what production code may not do.
//!
//! The arrows come from the block marked `arrows` in ARCHITECTURE.md, one line a crate, top to bottom:
//! `router: http > app > live feed ops > cluster > shard`. A module may import what stands right of its `>`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// More lines than this (tests aside) tell more than one story.
const LINES_MAX: usize = 450;
const CRATES: [(&str, &str); 3] = [("common", "common"), ("shard-node", "shard_node"), ("router", "router")];

struct Source {
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// All production source of a crate: test modules cut off, comments left out.
fn sources(folder: &str) -> Vec<Source> {
    let src = root().join(folder).join("src");
    let mut paths = Vec::new();
    collect(&src, &mut paths);
    let mut tests = BTreeSet::new();
    let mut all = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("source is text");
        let (production, outside) = split_tests(&text);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let parent = path.parent().expect("in a folder");
        let home = if matches!(stem, "mod" | "lib" | "main") { parent.to_owned() } else { parent.join(stem) };
        for module in outside {
            tests.insert(home.join(format!("{module}.rs")));
            tests.insert(home.join(module));
        }
        all.push(Source { path, text: production });
    }
    all.retain(|source| !source.path.ancestors().any(|path| tests.contains(path)));
    assert!(!all.is_empty(), "{folder} has no source");
    all
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    paths.sort();
}

/// What stands outside `#[cfg(test)] mod … { … }`, and the names of test modules kept in other files.
fn split_tests(text: &str) -> (String, Vec<String>) {
    let (mut kept, mut outside) = (String::new(), Vec::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        while lines.peek().is_some_and(|next| next.trim_start().starts_with("#[")) {
            lines.next();
        }
        let item = lines.next().unwrap_or_default();
        let name = item.trim().strip_suffix(';').and_then(|item| item.rsplit(' ').next());
        if item.contains("mod ") && name.is_some() {
            outside.extend(name.map(str::to_owned));
        } else if !item.trim_end().ends_with(';') {
            // Whatever is marked so ends with a closing brace as far in as it began.
            let indent = &item[..item.len() - item.trim_start().len()];
            let end = format!("{indent}}}");
            if !item.ends_with('}') {
                lines.by_ref().find(|line| *line == end);
            }
        }
    }
    (kept, outside)
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

#[test]
fn files_tell_one_story() {
    let mut long = Vec::new();
    for source in CRATES.iter().flat_map(|(folder, _)| sources(folder)) {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            long.push(format!("{}: {lines} lines", source.path.display()));
        }
        assert!(source.text.starts_with("//!"), "{} does not open with what it promises", source.path.display());
    }
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:#?}");
}

#[test]
fn production_code_neither_unwraps_nor_leaves_things_out() {
    let mut found = Vec::new();
    for source in CRATES.iter().flat_map(|(folder, _)| sources(folder)) {
        for (number, line) in source.text.lines().enumerate() {
            let code = without_comment(line);
            let banned = [".unwrap()", "todo!(", "unimplemented!(", "dbg!(", "thread::sleep"];
            if let Some(banned) = banned.iter().find(|banned| code.contains(**banned)) {
                found.push(format!("{} near line {}: {banned}", source.path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let read = |path: &str| -> toml::Table {
        fs::read_to_string(root().join(path)).expect("a manifest").parse().expect("TOML")
    };
    assert_eq!(read("Cargo.toml")["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for folder in ["common", "shard-node", "router", "tests"] {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{folder} has lints of its own");
    }
}

#[test]
fn crates_depend_downwards_and_common_has_no_runtime() {
    let depends = |folder: &str| -> Vec<String> {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = text.parse().expect("TOML");
        manifest["dependencies"].as_table().expect("a table").keys().cloned().collect()
    };
    let banned = [
        ("common", vec!["tokio", "hyper", "axum", "quorate-shard-node", "quorate-router"]),
        ("shard-node", vec!["quorate-router"]),
    ];
    for (folder, banned) in banned {
        let found: Vec<String> = depends(folder).into_iter().filter(|name| banned.contains(&name.as_str())).collect();
        assert!(found.is_empty(), "{folder} depends on {found:?}");
    }
    for source in sources("router") {
        let allowed = ["shard/local.rs", "embedded.rs", "src/lib.rs"].iter().any(|file| source.path.ends_with(file));
        let imports = source.text.lines().any(|line| without_comment(line).contains("shard_node::"));
        assert!(allowed || !imports, "{} imports shard_node", source.path.display());
    }
}

/// For each crate: each module's layer, 0 on top.
fn arrows() -> BTreeMap<String, BTreeMap<String, usize>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let block = text.split("```arrows\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("ARCHITECTURE.md has a block marked `arrows`");
    let line = |line: &str| {
        let (name, layers) = line.split_once(':')?;
        let layers = layers.split('>').enumerate();
        let modules = layers.flat_map(|(depth, layer)| layer.split_whitespace().map(move |m| (m.to_owned(), depth)));
        Some((name.trim().to_owned(), modules.collect()))
    };
    block.lines().filter_map(line).collect()
}

#[test]
fn imports_follow_the_arrows_of_the_architecture() {
    let arrows = arrows();
    let mut wrong = BTreeSet::new();
    for (folder, _) in CRATES {
        let layers = arrows.get(folder).unwrap_or_else(|| panic!("no arrows for {folder}"));
        let src = root().join(folder).join("src");
        for source in sources(folder) {
            let inside = source.path.strip_prefix(&src).expect("inside").components().next().expect("a name");
            let module = inside.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
            if module == "lib" || module == "main" {
                continue;
            }
            let Some(depth) = layers.get(&module) else {
                wrong.insert(format!("{folder}: {module} is not in the table"));
                continue;
            };
            for import in imports(&source.text).into_iter().filter(|import| *import != module) {
                if layers.get(&import).is_some_and(|other| other <= depth) {
                    wrong.insert(format!("{folder}: {module} imports {import} ({})", source.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The crate's own modules that a source names: `crate::a`, `use crate::{a, b::c}`.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().map(|line| without_comment(line).to_owned() + "\n").collect();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(first_names(list)),
            None => found.extend(first_name(rest)),
        }
    }
    found
}

fn first_name(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first name of each item of a `{…}` list, nested lists left out.
fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(first_name(&list[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(first_name(&list[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::a::X;\nuse crate::{b, c::{d, e},\n f};\n// crate::g\nfn x() { crate::h::y() }\n$crate::i\n";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "f", "h"]);
}

#[test]
fn test_modules_are_left_out() {
    let text = "//! x\nfn a() {}\n#[cfg(test)]\nmod model;\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
    let (kept, outside) = split_tests(text);
    assert_eq!(kept, "//! x\nfn a() {}\nfn c() {}\n");
    assert_eq!(outside, ["model"]);
}
