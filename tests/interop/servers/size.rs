//! What a large map costs the server, and those who talk meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cusax_tests::lab::wait;
use cusax_tests::lab::xmpp_server::Kind;

use crate::stack::{Plugin, Raw, Stack};

on_both!(a_hundred_thousand_users_cost_seconds_and_nobody_waits);

fn a_hundred_thousand_users_cost_seconds_and_nobody_waits(kind: Kind) {
    let mut stack = Stack::start(kind, "size", Plugin::Loaded);
    stack.settled();
    stack.stop_component();
    let server = stack.server.as_ref().expect("it runs").id();
    let done = AtomicBool::new(false);
    let (mut raw, mut client) = (
        Raw::connect(&stack.namespace).expect("a component"),
        Raw::login(&stack.namespace).expect("a client"),
    );
    client.bind("pings");
    let before = processor_time(server);
    let pings = std::thread::scope(|scope| {
        let pings = scope.spawn(|| {
            let mut times = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let start = wait::now();
                client.say("<iq type='get' id='p' to='atlanta.example'><ping xmlns='urn:xmpp:ping'/></iq>");
                client
                    .until(|text| text.contains("id='p'") || text.contains("id=\"p\""))
                    .expect("an answer");
                times.push(start.elapsed());
                wait::pass(Duration::from_millis(5));
            }
            times.sort();
            times
        });
        synchronise(&mut raw, "large", USERS);
        done.store(true, Ordering::Relaxed);
        pings.join().expect("the client goes on")
    });
    let cost = processor_time(server) - before;
    let state = raw
        .ask("<state xmlns='urn:x-cusax:plugin:0' version='1'/>", "get")
        .expect("the state");
    assert!(
        state.contains(&format!("{USERS}")) && state.contains("large"),
        "{state}"
    );
    let worst = pings[pings.len() - 1 - pings.len() / 100];
    println!(
        "{kind:?}: {cost:?} of processor time; of {} pings, 99 in 100 within {worst:?}",
        pings.len()
    );
    // Twice what it costs on a busy machine. Prosody's collector walks through the whole map each time it has grown a bit.
    let most = match kind {
        Kind::Prosody => Duration::from_secs(10),
        Kind::Ejabberd => Duration::from_secs(2),
    };
    assert!(cost < most, "{cost:?}");
    drop(raw);
    stack.start_component();
    stack.settled();
    stack.stop();
}

/// A whole map, four steps ahead of the answers as the component does it.
fn synchronise(raw: &mut Raw, epoch: &str, users: usize) {
    let sync = |rest: String| format!("<sync xmlns='urn:x-cusax:plugin:0' mode={rest}");
    let mut steps = vec![sync("'begin' version='1'/>".into())];
    let mut lines = String::new();
    for user in 0..users {
        let aor = format!("sip:user{user}@sip.atlanta.example");
        let tel = format!("tel:+4420{user:08}");
        let reach = if user % 2 == 0 {
            format!("{aor} {tel}")
        } else {
            String::new()
        };
        lines += &format!("user{user}@atlanta.example\t{user:016x}\t{aor}|video {tel}\t{reach}\n");
        if lines.len() >= 96 * 1024 || user + 1 == users {
            steps.push(sync(format!("'more'>{lines}</sync>")));
            lines.clear();
        }
    }
    steps.push(sync(format!("'commit' epoch='{epoch}' seq='1' users='{users}'/>")));
    let (mut sent, mut answered) = (0, 0);
    while answered < steps.len() {
        while sent < steps.len() && sent < answered + 4 {
            raw.put(&steps[sent], "set");
            sent += 1;
        }
        let text = raw
            .until(|text| text.contains("type='result'") || text.contains("type='error'"))
            .expect("an answer");
        assert!(!text.contains("type='error'"), "{text}");
        answered += text.matches("type='result'").count();
    }
}

/// What a process has used so far.
fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let fields = stat.rsplit(')').next().expect("behind the name").split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum();
    // Linux counts hundredths of a second there.
    Duration::from_millis(ticks * 10)
}

const USERS: usize = 100_000;
