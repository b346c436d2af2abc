//! Rules of the house that no type enforces, held against the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// What is built into the service.
const SOURCES: [&str; 5] = ["common/src", "b2bua/src", "xmpp-module/src", "console/src", "src"];

/// What secrets are called.
const SECRETS: [&str; 7] = ["response", "proof", "mac", "ha1", "expose", "password", "secret"];

/// Every source file without its tests, with its path seen from the workspace. Comments are left out.
fn sources() -> Vec<(String, String)> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut folders, mut found) = (SOURCES.map(|folder| workspace.join(folder)).to_vec(), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path: PathBuf = entry.expect("an entry").path();
            let name = path.strip_prefix(&workspace).expect("within").display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.contains("test") && !name.ends_with("contract.rs") {
                let text = fs::read_to_string(&path).expect("a source");
                let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
                let code = lines.filter(|line| !line.trim_start().starts_with("//"));
                found.push((name, code.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    assert!(found.len() > 100, "{} sources", found.len());
    found
}

/// The files in which any of the words stands.
fn holding<'a>(sources: &'a [(String, String)], words: &[&str]) -> Vec<&'a str> {
    let holds = |code: &str| words.iter().any(|word| code.contains(word));
    let mut files: Vec<_> = sources
        .iter()
        .filter(|(_, code)| holds(code))
        .map(|(name, _)| name.as_str())
        .collect();
    files.sort_unstable();
    files
}

/// `io::clock::SystemEntropy` is the one way to the operating system's randomness, and there is no other randomness.
#[test]
fn randomness_comes_from_the_operating_system_by_one_place() {
    let sources = sources();
    let others = [
        "SystemRandom",
        "SecureRandom",
        "rand::rng",
        "rand::random",
        "use rand",
        "thread_rng",
        "OsRng",
        "getrandom",
        "fastrand",
        "/dev/urandom",
        "/dev/random",
    ];
    assert_eq!(holding(&sources, &others), ["common/src/io/clock.rs"]);
    // The repeatable source is for tests.
    assert_eq!(holding(&sources, &["Seeded::new", "Seeded::"]), [""; 0]);
}

/// Whoever makes a proof or a code to compare it with what a stranger says compares by `digest::same`.
#[test]
fn secrets_are_compared_by_one_function_in_constant_time() {
    let sources = sources();
    let makers = holding(
        &sources,
        &["hmac::sign(", "new_with_key(", "digest::response(", ".sign()"],
    );
    assert_eq!(
        makers,
        [
            "b2bua/src/core/auth.rs",
            // Derives a key for the names of dialogs.
            "b2bua/src/core/dialog/id.rs",
            "b2bua/src/core/flow_token.rs",
            // Derives a key by which the library opens what it has sealed.
            "b2bua/src/core/registrar/gruu.rs",
            // Derives a key for telling whose a message is.
            "b2bua/src/core/share.rs",
            // Makes names of transactions, which nobody else sees.
            "b2bua/src/core/transaction/key.rs",
            // Makes tags, which nobody compares.
            "b2bua/src/core/transaction/table.rs",
        ],
        "who makes proofs or codes"
    );
    let comparers = holding(&sources, &["digest::same("]);
    assert_eq!(comparers, [makers[0], makers[2]]);
    // Other ways that would be as good, of which there are to be none, and ways that would be none.
    let other_ways = [
        "verify_slices_are_equal",
        "constant_time",
        "ConstantTimeEq",
        "ct_eq",
        "hmac::verify",
    ];
    assert_eq!(holding(&sources, &other_ways), [""; 0]);
    for (name, code) in &sources {
        for line in code.lines() {
            let sides = line.replace("!=", "==");
            let sides: Vec<_> = sides.split("==").collect();
            for pair in sides.windows(2) {
                let word = |c: char| c.is_alphanumeric() || "_.".contains(c);
                let [left, right] = [pair[0].trim_end().trim_end_matches("()"), pair[1].trim_start()];
                let left = left.rsplit(|c| !word(c)).next().unwrap_or_default();
                let right = right
                    .trim_start_matches(['&', '*'])
                    .split(|c| !word(c))
                    .next()
                    .unwrap_or_default();
                for side in [left, right] {
                    let last = side.rsplit('.').next().unwrap_or_default();
                    assert!(!SECRETS.contains(&last), "{name} compares a secret: {line}");
                }
            }
        }
    }
    let (_, same) = sources
        .iter()
        .find(|(name, _)| name == "common/src/core/sip/digest.rs")
        .expect("there");
    let body = same
        .split("pub fn same(")
        .nth(1)
        .and_then(|rest| rest.split("\n}").next());
    let body = body.expect("the function");
    assert!(body.contains("black_box") && body.contains("fold"), "{body}");
    assert!(!body.contains(".all(") && !body.contains("a == b"), "{body}");
}

/// Whatever a stranger must not guess: 128 bits for nonces and tokens, 64 for tags and identifiers of one connection.
#[test]
fn what_must_not_be_guessed_is_long_enough() {
    let least = |name: &str, what: &str| -> usize {
        match what {
            // Codes of nonces, and what they are made from; marks and keys of bindings.
            "RANDOM_BYTES" | "MAC_BYTES" | "MAC" | "MARK_BYTES" | "KEY_BYTES" => 16,
            "TAG_BYTES" => 8,
            other => panic!("{name}: nothing is known of {other}"),
        }
    };
    let mut seen = Vec::new();
    for (name, code) in sources() {
        for line in code.lines() {
            if let Some((what, rest)) = line
                .trim()
                .strip_prefix("const ")
                .and_then(|rest| rest.split_once(": usize = "))
                && let Some(number) = rest.strip_suffix(';').and_then(|number| number.parse::<usize>().ok())
                && [
                    "RANDOM_BYTES",
                    "MAC_BYTES",
                    "MAC",
                    "MARK_BYTES",
                    "KEY_BYTES",
                    "TAG_BYTES",
                ]
                .contains(&what)
            {
                assert!(number >= least(&name, what), "{name}: {line}");
                seen.push(format!("{name} {what}"));
            }
            for (kind, bits) in [("token::<", 8), ("bytes::<", 16)] {
                let drawn = line.split(kind).nth(1).and_then(|rest| rest.split('>').next());
                let Some(number) = drawn.and_then(|number| number.parse::<usize>().ok()) else {
                    continue;
                };
                // Dice: which server comes first, how long to wait, where a count begins.
                let dice = line.contains("from_le_bytes") || line.contains("let [random]");
                assert!(number >= bits || dice, "{name}: {line}");
            }
        }
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "b2bua/src/core/auth.rs MAC_BYTES",
            "b2bua/src/core/auth.rs RANDOM_BYTES",
            "b2bua/src/core/call/output.rs TAG_BYTES",
            "b2bua/src/core/endpoint.rs TAG_BYTES",
            "b2bua/src/core/flow_token.rs MAC",
            "b2bua/src/core/registrar/binding.rs KEY_BYTES",
            "b2bua/src/core/registrar/gruu.rs MARK_BYTES",
            "b2bua/src/core/transaction/table.rs TAG_BYTES",
        ]
    );
}
