//! The demonstration holds, and notices each mechanism that is switched off.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use cusax_tests::lab::{Scratch, wait};

/// Runs the demonstration; gives whether it succeeded and all that it printed.
fn demo(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .arg("show")
        .args(arguments)
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn every_line_holds() {
    let _alone = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (ok, text) = demo(&[]);
    assert!(ok, "{text}");
}

#[test]
fn every_line_holds_on_postgres_and_redis() {
    let _alone = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (ok, text) = demo(&["--store", "postgres"]);
    assert!(ok, "{text}");
}

#[test]
fn what_is_switched_off_fails_at_its_own_line() {
    let _alone = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // What is switched off, and the line that must fail.
    let rows = [
        ("reach", "✗ [reach] Carol sees where Alice can be reached"),
        ("roster", "✗ [roster] Bob's roster, asked for with <annotate/>"),
        ("impp", "✗ [impp] Bob's INVITE carries Alice's JID"),
        ("relay", "✗ [relay] Bob hears the digits"),
        ("tone", "✗ [tone] our relay sent her the warning tone"),
        (
            "vcard",
            "✗ [vcard] twenty vCards with other people's numbers are refused",
        ),
    ];
    for pair in rows.chunks(2) {
        std::thread::scope(|scope| {
            for (mechanism, line) in pair {
                scope.spawn(move || {
                    let (ok, text) = demo(&["--break", mechanism]);
                    assert!(!ok, "nobody noticed that {mechanism} was off:\n{text}");
                    assert!(
                        text.contains(line),
                        "{mechanism} failed elsewhere than at {line:?}:\n{text}"
                    );
                });
            }
        });
    }
}

#[test]
fn on_ctrl_c_and_on_kill_nothing_is_left() {
    let _alone = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(143)), ("KILL", None)] {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"))
            .arg("show")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(demo.stdout.take().expect("piped"))
            .lines()
            .map_while(Result::ok);
        let step = lines.find(|line| line.starts_with("2."));
        assert!(step.is_some(), "it ended before the second step");
        let (id, programs) = (demo.id(), children(demo.id()));
        assert!(programs.len() > 8, "{programs:?}");
        assert!(!scratch(id).is_empty());
        Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(id.to_string())
            .status()
            .expect("kill is there");
        drop(lines);
        assert_eq!(demo.wait().expect("it ended").code(), code, "{signal}");
        let left = || {
            programs
                .iter()
                .filter(|id| Path::new("/proc").join(id.to_string()).exists())
                .collect::<Vec<_>>()
        };
        wait::until("the programs' end", Duration::from_secs(5), || {
            left().is_empty().then_some(())
        })
        .unwrap_or_else(|fault| panic!("{signal}: {fault}: {:?}", left()));
        if signal == "KILL" {
            // Only the folder can be left, and the next start removes it.
            drop(Scratch::new("next").expect("a scratch folder"));
        }
        assert_eq!(scratch(id), Vec::<PathBuf>::new(), "{signal}");
    }
}

/// The programs that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let of = |id: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let all = std::fs::read_dir("/proc").expect("readable").flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|id| of(*id) == Some(parent)).collect()
}

/// The scratch folders of a process.
fn scratch(owner: u32) -> Vec<PathBuf> {
    let all = std::fs::read_dir(std::env::temp_dir())
        .expect("readable")
        .flatten()
        .map(|entry| entry.path());
    all.filter(|path| path.to_string_lossy().contains(&format!("cusax-lab-{owner}-")))
        .collect()
}

/// One demonstration at a time, or the times that it measures are the machine's.
static TURN: Mutex<()> = Mutex::new(());
