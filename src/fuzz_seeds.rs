//! The seeds of the fuzz targets, each read as its target reads it: what tests/fuzz/run starts from holds at any time.

use std::fs;
use std::path::Path;

use crate::{brief, config, files, layers};

type Read = fn(&[u8]);

/// What each target does with a seed; the same call stands in `tests/fuzz/fuzz_targets`.
const TARGETS: [(&str, Read); 4] = [
    ("api_answer", |seed| layers::hostile::answers_tell_no_lie(text(seed))),
    ("csv", files::hostile::a_file_keeps_its_lines_either_way),
    ("message", brief::hostile::a_message_stays_what_it_is),
    ("settings", |seed| config::hostile::a_file_loads_or_says_why(text(seed))),
];

fn text(seed: &[u8]) -> &str {
    std::str::from_utf8(seed).expect("this target takes texts")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_seed_holds_and_every_target_has_seeds_and_is_built() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\ncargo-fuzz = true\n"), "cargo fuzz would not know the package");
    assert_eq!(names(&root.join("corpus")), TARGETS.map(|(name, _)| name));
    assert_eq!(names(&root.join("fuzz_targets")), TARGETS.map(|(name, _)| format!("{name}.rs")));
    for (name, read) in TARGETS {
        assert!(manifest.contains(&format!("\npath = \"fuzz_targets/{name}.rs\"\n")), "{name} is not built");
        let corpus = root.join("corpus").join(name);
        let seeds = names(&corpus);
        assert!(seeds.len() > 1, "{name} starts from {seeds:?}");
        for seed in seeds {
            println!("{name}/{seed}");
            read(&fs::read(corpus.join(&seed)).unwrap());
        }
    }
}
