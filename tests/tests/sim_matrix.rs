//! Every method in every state of a call over every transport: what RFC 3261 and its extensions ask of a back-to-back
//! user agent, one row of `sim_matrix.tsv` for each, written from the documents that it names.
//!
//! What does not hold yet stands in `sim_matrix_ledger.tsv` with its reason, and has to be taken out of it as soon as it
//! holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::thread;

use cusax_tests::sim::matrix::{METHODS, Row, State, TRANSPORTS, looks, run};

const MATRIX: &str = include_str!("sim_matrix.tsv");
const LEDGER: &str = include_str!("sim_matrix_ledger.tsv");

/// What is known not to hold, by state and method.
fn ledger() -> BTreeMap<(String, String), String> {
    let mut known = BTreeMap::new();
    for line in LEDGER.lines().skip(1) {
        let [state, method, got, why] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("four columns: {line}")
        };
        assert!(!why.is_empty(), "a reason: {line}");
        let before = known.insert((state.to_owned(), method.to_owned()), got.to_owned());
        assert_eq!(before, None, "twice: {line}");
    }
    known
}

#[test]
fn every_cell_has_one_row_and_a_rule() {
    let rows = Row::read(MATRIX);
    let mut cells = 0;
    for (_, state) in State::ALL {
        for method in METHODS {
            for (transport, word, _) in TRANSPORTS {
                let of_it = |row: &&Row| row.state == state && row.method == method && row.is_over(word);
                let found: Vec<_> = rows.iter().filter(of_it).collect();
                assert_eq!(found.len(), 1, "{state}, {method}, {transport}: {found:?}");
                cells += 1;
            }
        }
    }
    assert!(METHODS.len() >= 14 && State::ALL.len() >= 12 && cells >= 14 * 12 * 4);
    for row in rows {
        assert!(
            row.rule.starts_with("RFC ") && row.rule.contains('§'),
            "a section: {row:?}"
        );
        assert!(!row.reason.is_empty(), "a reason: {row:?}");
        assert!(State::named(&row.state).is_some(), "a state: {row:?}");
        assert!(METHODS.contains(&row.method.as_str()), "a method: {row:?}");
    }
}

#[test]
fn every_cell_holds_or_is_known_not_to() {
    let (rows, known) = (Row::read(MATRIX), ledger());
    // One thread for each transport.
    let found: Vec<_> = thread::scope(|scope| {
        let of_transport = |&(transport, word, listener)| {
            let rows = rows.iter().filter(move |row| row.is_over(word));
            scope.spawn(move || {
                let cell = |row: &Row| {
                    let state = State::named(&row.state).expect("checked elsewhere");
                    (row.clone(), transport, run(row, state, (transport, listener)).err())
                };
                rows.map(cell).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = TRANSPORTS.iter().map(of_transport).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert_eq!(found.len(), State::ALL.len() * METHODS.len() * TRANSPORTS.len());
    let mut table = String::new();
    let mut failing = BTreeSet::new();
    for (row, transport, fault) in &found {
        let key = (row.state.clone(), row.method.clone());
        let Some(got) = fault else { continue };
        failing.insert(key.clone());
        if known.get(&key) != Some(got) {
            let Row {
                state,
                method,
                expected,
                afterwards,
                rule,
                ..
            } = row;
            writeln!(
                table,
                "{state} | {method} | {transport} | {expected}, {afterwards} | {got} | {rule}"
            )
            .expect("memory");
        }
    }
    let mended: Vec<_> = known.keys().filter(|key| !failing.contains(*key)).collect();
    assert!(
        table.is_empty() && mended.is_empty(),
        "state | method | transport | expected | got | rule\n{table}\nin the ledger, and holds: {mended:?}"
    );
}

/// A row that says something else than what happens is found out, by its answer as by what follows.
#[test]
fn a_false_row_fails() {
    let rows = Row::read(MATRIX);
    let bye = rows
        .iter()
        .find(|row| row.state == "confirmed, caller" && row.method == "BYE");
    let bye = bye.expect("a row");
    let way = (TRANSPORTS[0].0, TRANSPORTS[0].2);
    let run = |row: &Row| run(row, State::ConfirmedCaller, way);
    assert_eq!(run(bye), Ok(()));
    let with = |change: fn(&mut Row)| {
        let mut row = bye.clone();
        change(&mut row);
        run(&row)
    };
    assert_eq!(with(|row| row.expected = "481".into()), Err("200".into()));
    for (afterwards, fault) in [
        ("unchanged", "200, the other side is told [\"BYE\"]"),
        ("nothing", "200, there is a call"),
        ("cancelled", "200, what is under way gets []"),
    ] {
        let mut row = bye.clone();
        afterwards.clone_into(&mut row.afterwards);
        assert_eq!(run(&row), Err(fault.to_owned()), "{afterwards}");
    }
    assert_eq!(
        with(|row| row.carries = "Retry-After".into()),
        Err("200, without Retry-After".into())
    );
}

/// Whoever asks about a call that is not theirs cannot tell whether there is one, or was one.
#[test]
fn a_dialog_that_is_not_ones_own_looks_like_none() {
    for method in METHODS {
        if method == "ACK" {
            continue;
        }
        let unknown = looks(State::UnknownDialog, method);
        for state in [State::StrangeTo, State::StrangeFrom, State::Forgotten] {
            assert_eq!(looks(state, method), unknown, "{method}, {state:?}");
        }
        assert!(matches!(unknown, Ok((481, _))), "{method}: {unknown:?}");
    }
}
