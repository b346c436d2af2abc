//! Every file of `fuzz/corpus` through the body of its target: what the fuzzer found stays found.

use std::fs;
use std::path::{Path, PathBuf};

use cusax_tests::fuzz::TARGETS;

#[test]
fn what_was_found_stays_found() {
    for (name, target) in TARGETS {
        let files = files(&corpus().join(name));
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let bytes = fs::read(&file).expect("a file of the corpus");
            // The test harness shows what is printed only when it fails: the last file is the one.
            println!("{}", file.display());
            target(&bytes);
        }
    }
}

#[test]
fn the_corpus_is_small_and_belongs_to_its_targets() {
    let mut names = TARGETS.map(|(name, _)| name.to_owned()).to_vec();
    for (name, _) in TARGETS {
        let files = files(&corpus().join(name));
        let bytes: u64 = files.iter().map(|file| fs::metadata(file).expect("a file").len()).sum();
        assert!(
            files.len() <= 200 && bytes <= 65_536,
            "{name}: {} files of {bytes} bytes",
            files.len()
        );
        let program = corpus().with_file_name("fuzz_targets").join(name).with_extension("rs");
        assert!(program.exists(), "{name} has no program");
    }
    let mut found: Vec<String> = files(&corpus())
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    found.sort();
    assert_eq!(found, names);
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}
