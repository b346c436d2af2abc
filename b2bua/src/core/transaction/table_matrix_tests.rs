//! Every message, answer and timer in every state of the four machines, over datagrams, over streams, and from clients of
//! RFC 2543: one row of `table_matrix.tsv` for each, written from the documents that its last column names.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::super::timer::Timer;
use super::*;

const MATRIX: &str = include_str!("table_matrix.tsv");
/// How a machine is reached; "all" in the matrix stands for each of them.
const OVER: [&str; 3] = ["udp", "tcp", "udp-2543"];

/// Each machine with its states, as far as they can be told apart from without, and with what can happen to it.
const MACHINES: [(&str, &[&str], &[&str]); 4] = [
    (
        "INVITE client",
        &[
            "calling",
            "calling, to be cancelled",
            "proceeding",
            "proceeding, cancelled",
            "completed",
            "accepted",
            "terminated",
        ],
        &[
            "100",
            "180",
            "200",
            "200 of another fork",
            "302",
            "486",
            "503",
            "603",
            "200 from another address",
            "200 of another branch",
            "200 of a branch without the cookie",
            "200 of another sent-by",
            "200 with two Vias",
            "200 to CANCEL",
            "481 to CANCEL",
            "cancel",
            "transport failure",
            "transport failure elsewhere",
            "timer A",
            "timer B",
            "timer C",
            "timer D",
            "timer M",
            "timer Cancelled",
        ],
    ),
    (
        "other client",
        &["trying", "proceeding", "completed", "terminated"],
        &[
            "100",
            "183",
            "200",
            "302",
            "486",
            "503",
            "603",
            "200 from another address",
            "200 of another branch",
            "200 of a branch without the cookie",
            "200 of another sent-by",
            "200 with two Vias",
            "200 to another method",
            "cancel",
            "transport failure",
            "transport failure elsewhere",
            "timer E",
            "timer F",
            "timer K",
        ],
    ),
    (
        "INVITE server",
        &[
            "proceeding",
            "proceeding, 180 sent",
            "proceeding, cancelled",
            "completed",
            "confirmed",
            "accepted",
            "accepted, acknowledged",
            "terminated",
        ],
        &[
            "INVITE again",
            "INVITE again from elsewhere",
            "INVITE again by another connection",
            "INVITE by another branch",
            "INVITE of another number by the same branch",
            "ACK by the branch",
            "ACK by the branch with another tag",
            "ACK by the branch without a tag",
            "ACK by the branch from elsewhere",
            "ACK of the dialog",
            "ACK of the dialog from elsewhere",
            "ACK of another dialog",
            "ACK of another number",
            "CANCEL",
            "CANCEL again",
            "CANCEL of another number",
            "CANCEL from elsewhere",
            "CANCEL of another branch",
            "BYE by the same branch",
            "a response with the branch",
            "answer 100",
            "answer 180",
            "answer 200",
            "answer 302",
            "answer 486",
            "answer 503",
            "answer 603",
            "transport failure",
            "timer G",
            "timer H",
            "timer I",
            "timer L",
            "timer Again",
            "timer Unacknowledged",
        ],
    ),
    (
        "other server",
        &["trying", "proceeding", "completed", "terminated"],
        &[
            "OPTIONS again",
            "OPTIONS again from elsewhere",
            "OPTIONS again by another connection",
            "OPTIONS by another branch",
            "OPTIONS of another number by the same branch",
            "ACK by the branch",
            "CANCEL",
            "CANCEL again",
            "CANCEL from elsewhere",
            "CANCEL of another branch",
            "MESSAGE by the same branch",
            "INVITE by the same branch",
            "a response with the branch",
            "answer 100",
            "answer 183",
            "answer 200",
            "answer 302",
            "answer 486",
            "answer 503",
            "answer 603",
            "transport failure",
            "timer F",
            "timer J",
        ],
    ),
];

/// Whether there is such a state: streams repeat nothing, so that nothing lingers on them to absorb copies, and clients of
/// RFC 2543 are those whom we answer.
fn exists(machine: &str, over: &str, state: &str) -> bool {
    match (machine, over) {
        ("INVITE client" | "other client" | "other server", "tcp") => state != "completed",
        ("INVITE client" | "other client", "udp-2543") => false,
        ("INVITE server", "tcp") => state != "confirmed",
        _ => true,
    }
}

/// One row of the matrix.
#[derive(Debug)]
struct Row<'a> {
    over: Vec<&'a str>,
    place: [&'a str; 3],
    /// Sent, passed up, counted, next state.
    expected: [&'a str; 4],
    rule: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let lines = MATRIX.lines().skip(1);
    lines
        .map(|line| {
            let columns: Vec<_> = line.split('\t').collect();
            let &[machine, over, state, event, sent, up, counted, next, rule] = columns.as_slice() else {
                panic!("not nine columns: {line}")
            };
            assert!(rule.contains('§') || rule.starts_with("ours"), "a rule: {line}");
            Row {
                over: if over == "all" {
                    OVER.to_vec()
                } else {
                    over.split(',').collect()
                },
                place: [machine, state, event],
                expected: [sent, up, counted, next],
                rule,
            }
        })
        .collect()
}

#[test]
fn every_state_takes_every_message_as_the_documents_say() {
    let rows = rows();
    let mut used = BTreeSet::new();
    let (mut cells, mut wrong) = (0, String::new());
    for (machine, states, events) in MACHINES {
        for over in OVER {
            for state in states.iter().filter(|state| exists(machine, over, state)) {
                for event in events {
                    let place = [machine, state, event];
                    let fits = |row: &Row<'_>| row.place == place && row.over.contains(&over);
                    let found: Vec<_> = (0..rows.len()).filter(|&at| fits(&rows[at])).collect();
                    cells += 1;
                    let [at] = found.as_slice() else {
                        let _ = writeln!(wrong, "{over}, {place:?}: {} rows", found.len());
                        continue;
                    };
                    used.insert(*at);
                    let (row, seen) = (&rows[*at], run(machine, over, state, event));
                    if seen != row.expected {
                        let _ = writeln!(
                            wrong,
                            "{over}, {place:?}: {seen:?}, not {:?} ({})",
                            row.expected, row.rule
                        );
                    }
                }
            }
        }
    }
    for row in rows.iter().enumerate().filter(|(at, _)| !used.contains(at)) {
        let _ = writeln!(wrong, "no such cell: {row:?}");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(cells > 800, "{cells} cells");
}

/// Brings a machine into a state, lets something happen, and tells what came of it.
fn run(machine: &str, over: &str, state: &str, event: &str) -> [String; 4] {
    let mut stage = Stage::new(machine, over);
    match machine {
        "INVITE client" | "other client" => stage.client_into(state),
        _ => stage.server_into(state),
    }
    let at_first = stage.state();
    let shown = state.split(',').next().expect("a name");
    assert_eq!(at_first, shown, "{machine} over {over} comes into the state");
    if let Some(letter) = event.strip_prefix("timer ") {
        if !stage.timers().iter().any(|timer| format!("{timer:?}") == letter) {
            return ["-", "-", "-", "unarmed"].map(str::to_owned);
        }
        stage.fire(letter);
    } else if machine.ends_with("client") {
        stage.begin();
        stage.client_event(event);
    } else {
        if event == "CANCEL again" {
            stage.server_event("CANCEL");
        }
        stage.begin();
        stage.server_event(event);
    }
    stage.outcome()
}

struct Stage {
    world: World,
    flow: Flow,
    request: Request,
    branch: &'static str,
    id: TransactionId,
    counters: Counters,
}

impl Stage {
    fn new(machine: &str, over: &str) -> Self {
        let transport = if over == "tcp" { Transport::Tcp } else { Transport::Udp };
        let flow = flow(transport, "192.0.2.7:5070");
        let branch = if over == "udp-2543" { "1" } else { "z9hG4bK1" };
        let method = if machine.starts_with("INVITE") {
            "INVITE"
        } else {
            "OPTIONS"
        };
        let request = request(method, branch, "", 1);
        let mut world = World::new();
        let id = if machine.ends_with("client") {
            TransactionId::Client(world.send(flow, request.clone()))
        } else {
            world.take(flow, request.clone());
            TransactionId::Server(world.server.expect("a request came"))
        };
        Self {
            world,
            flow,
            request,
            branch,
            id,
            counters: Counters::default(),
        }
    }

    fn client_into(&mut self, state: &str) {
        let first = match state {
            "calling" | "trying" => &[][..],
            "calling, to be cancelled" => &["cancel"],
            "proceeding" => &["180"],
            "proceeding, cancelled" => &["180", "cancel"],
            "completed" | "terminated" => &["486"],
            "accepted" => &["200"],
            other => panic!("{other}"),
        };
        first.iter().for_each(|event| self.client_event(event));
        if state == "terminated" {
            self.world.until(40_000);
        }
    }

    fn server_into(&mut self, state: &str) {
        let first = match (state, &self.request.method) {
            ("proceeding", Method::Invite) | ("trying", _) => &[][..],
            ("proceeding, 180 sent", _) => &["answer 180"],
            ("proceeding", _) => &["answer 183"],
            ("proceeding, cancelled", _) => &["answer 180", "CANCEL"],
            ("completed", Method::Invite) => &["answer 486"],
            ("confirmed" | "terminated", Method::Invite) => &["answer 486", "ACK by the branch"],
            ("accepted", _) => &["answer 200"],
            ("accepted, acknowledged", _) => &["answer 200", "ACK of the dialog"],
            ("completed" | "terminated", _) => &["answer 200"],
            (other, _) => panic!("{other}"),
        };
        first.iter().for_each(|event| self.server_event(event));
        if state == "terminated" {
            self.world.until(40_000);
        }
    }

    fn client_event(&mut self, event: &str) {
        let (branch, method) = (self.branch, self.request.method.to_string());
        let via = |host: &str| Via::new("UDP", host.parse().unwrap(), None, branch);
        let mut came = self.flow;
        let mut response = reply(&self.request, 200, "b");
        match event {
            "cancel" | "transport failure" | "transport failure elsewhere" => {
                match (event, self.id) {
                    ("cancel", TransactionId::Client(id)) => self.world.table.cancel(self.world.now, id, None),
                    ("transport failure", _) => self.world.table.handle_transport_failure(self.world.now, self.flow),
                    _ => {
                        let other = flow(self.flow.transport, "192.0.2.8:5070");
                        self.world.table.handle_transport_failure(self.world.now, other);
                    }
                }
                return self.world.drain();
            }
            "200 of another fork" => response = reply(&self.request, 200, "c"),
            "200 from another address" => came = flow(came.transport, "192.0.2.8:5070"),
            "200 of another branch" => response = reply(&request(&method, "z9hG4bK2", "", 1), 200, "b"),
            "200 of a branch without the cookie" => response = reply(&request(&method, "1", "", 1), 200, "b"),
            "200 of another sent-by" => response.headers.replace(&via("192.0.2.99")),
            "200 with two Vias" => response.headers.put(&via("192.0.2.99")),
            "200 to CANCEL" => response = reply(&request("CANCEL", branch, "", 1), 200, "b"),
            "481 to CANCEL" => response = reply(&request("CANCEL", branch, "", 1), 481, "b"),
            "200 to another method" => response = reply(&request("BYE", branch, "", 1), 200, "b"),
            code => response = reply(&self.request, code.parse().expect("a status"), "b"),
        }
        self.world.take(came, response);
    }

    fn server_event(&mut self, event: &str) {
        let elsewhere = flow(self.flow.transport, "192.0.2.8:5070");
        let other_branch = if self.branch == "1" { "2" } else { "z9hG4bK2" };
        let (branch, method) = (self.branch, self.request.method.to_string());
        let (mut came, again) = (self.flow, self.request.clone());
        let message = match event {
            "INVITE again" | "OPTIONS again" => again,
            "INVITE again from elsewhere" | "OPTIONS again from elsewhere" => {
                came = elsewhere;
                again
            }
            "INVITE again by another connection" | "OPTIONS again by another connection" => {
                // Of datagrams only their address tells, and of streams their port as well.
                came = flow(Transport::Tcp, "192.0.2.7:5071");
                again
            }
            "INVITE by another branch" | "OPTIONS by another branch" => request(&method, other_branch, "", 1),
            "INVITE of another number by the same branch" | "OPTIONS of another number by the same branch" => {
                request(&method, branch, "", 2)
            }
            "ACK by the branch" => request("ACK", branch, "b", 1),
            "ACK by the branch with another tag" => request("ACK", branch, "c", 1),
            "ACK by the branch without a tag" => request("ACK", branch, "", 1),
            "ACK by the branch from elsewhere" => {
                came = elsewhere;
                request("ACK", branch, "b", 1)
            }
            "ACK of the dialog" => request("ACK", other_branch, "b", 1),
            "ACK of the dialog from elsewhere" => {
                came = elsewhere;
                request("ACK", other_branch, "b", 1)
            }
            "ACK of another dialog" => request("ACK", other_branch, "c", 1),
            "ACK of another number" => request("ACK", other_branch, "b", 2),
            "CANCEL" | "CANCEL again" => request("CANCEL", branch, "", 1),
            "CANCEL of another number" => request("CANCEL", branch, "", 2),
            "CANCEL from elsewhere" => {
                came = elsewhere;
                request("CANCEL", branch, "", 1)
            }
            "CANCEL of another branch" => request("CANCEL", other_branch, "", 1),
            "BYE by the same branch" => request("BYE", branch, "b", 2),
            "MESSAGE by the same branch" => request("MESSAGE", branch, "", 1),
            "INVITE by the same branch" => request("INVITE", branch, "", 1),
            "a response with the branch" => return self.world.take(came, reply(&self.request, 200, "b")),
            "transport failure" => {
                self.world.table.handle_transport_failure(self.world.now, self.flow);
                return self.world.drain();
            }
            answer => {
                let code = answer.strip_prefix("answer ").expect("an event").parse();
                let response = reply(&self.request, code.expect("a status"), "b");
                let TransactionId::Server(id) = self.id else {
                    unreachable!()
                };
                if self.world.table.respond(self.world.now, id, &response) == Err(Late) {
                    self.world.seen.push((0, "late".into()));
                }
                return self.world.drain();
            }
        };
        self.world.take(came, message);
    }

    /// Lets time pass until a timer that is armed has fired; what came before that is forgotten.
    fn fire(&mut self, letter: &str) {
        loop {
            let at = self.world.table.poll_timeout().expect("a timer is armed");
            let due = self
                .due()
                .iter()
                .any(|(due, timer)| *due == at && format!("{timer:?}") == letter);
            self.begin();
            self.world.now = at;
            self.world.table.handle_timeout(at);
            self.world.drain();
            if due {
                return;
            }
        }
    }

    fn begin(&mut self) {
        self.world.seen.clear();
        self.counters = self.world.table.counters();
    }

    fn outcome(&self) -> [String; 4] {
        let listed = |parts: Vec<&str>| match parts.as_slice() {
            [] => "-".to_owned(),
            some => some.join("; "),
        };
        let seen = || self.world.seen.iter().map(|(_, what)| what.as_str());
        let sent = seen().filter_map(|what| what.strip_prefix("send ")).collect();
        let up = seen().filter(|what| !what.starts_with("send ")).collect();
        let (before, now) = (self.counters, self.world.table.counters());
        let counted = [
            ("stray_responses", before.stray_responses, now.stray_responses),
            ("stray_copies", before.stray_copies, now.stray_copies),
            ("stray_acks", before.stray_acks, now.stray_acks),
            ("stray_cancels", before.stray_cancels, now.stray_cancels),
            ("copies", before.copies, now.copies),
            ("merged", before.merged, now.merged),
            ("refused", before.refused, now.refused),
            ("retransmitted", before.retransmitted, now.retransmitted),
        ];
        let counted = counted.iter().filter(|(_, before, now)| before != now);
        let counted = counted.map(|(name, before, now)| {
            assert_eq!(before + 1, *now, "{name} counts one");
            *name
        });
        [listed(sent), listed(up), listed(counted.collect()), self.state()]
    }

    fn state(&self) -> String {
        let table = &self.world.table;
        let state = match self.id {
            TransactionId::Client(id) => match table.clients.get(&id).map(|entry| &entry.machine) {
                Some(ClientMachine::Invite(machine)) => Some(machine.inside().0),
                Some(ClientMachine::Other(machine)) => Some(machine.inside().0),
                None => table.accepted.until(id).map(|_| "Accepted".to_owned()),
            },
            TransactionId::Server(id) => match table.servers.get(id).map(|entry| &entry.machine) {
                Some(ServerMachine::Invite(machine)) => Some(machine.inside().0),
                Some(ServerMachine::Other(machine)) => Some(machine.inside().0),
                None => table.servers.remembered_until(id).map(|_| "Completed".to_owned()),
            },
        };
        let state = state.unwrap_or_else(|| "Terminated".into()).to_lowercase();
        state.split(' ').next().expect("a name").to_owned()
    }

    /// Those that are armed.
    fn timers(&self) -> Vec<Timer> {
        let table = &self.world.table;
        let armed = match self.id {
            TransactionId::Client(id) => table.clients.get(&id).map(|entry| match &entry.machine {
                ClientMachine::Invite(machine) => machine.inside().1,
                ClientMachine::Other(machine) => machine.inside().1,
            }),
            TransactionId::Server(id) => table.servers.get(id).map(|entry| match &entry.machine {
                ServerMachine::Invite(machine) => machine.inside().1,
                ServerMachine::Other(machine) => machine.inside().1,
            }),
        };
        let mut armed = armed.map(|timers| timers.armed()).unwrap_or_default();
        armed.extend(match self.id {
            TransactionId::Server(id) => table.servers.remembered_until(id).map(|_| Timer::J),
            TransactionId::Client(id) => table.accepted.until(id).map(|_| Timer::M),
        });
        if let TransactionId::Server(id) = self.id
            && let Some(answer) = table.servers.get(id).and_then(|entry| entry.answer.as_ref())
            && answer.0.poll_timeout().is_some()
        {
            armed.extend([Timer::Again, Timer::Unacknowledged]);
        }
        armed
    }

    /// The next timer of the machine, and that of its answer.
    fn due(&self) -> Vec<(Instant, Timer)> {
        let table = &self.world.table;
        let mut due = Vec::new();
        match self.id {
            TransactionId::Client(id) => {
                due.extend(table.accepted.until(id).map(|at| (at, Timer::M)));
                due.extend(table.clients.get(&id).and_then(|entry| match &entry.machine {
                    ClientMachine::Invite(machine) => machine.poll_timeout(),
                    ClientMachine::Other(machine) => machine.poll_timeout(),
                }));
            }
            TransactionId::Server(id) => {
                due.extend(table.servers.remembered_until(id).map(|at| (at, Timer::J)));
                let Some(entry) = table.servers.get(id) else {
                    return due;
                };
                due.extend(match &entry.machine {
                    ServerMachine::Invite(machine) => machine.poll_timeout(),
                    ServerMachine::Other(machine) => machine.poll_timeout(),
                });
                due.extend(entry.answer.as_ref().and_then(|answer| answer.0.poll_timeout()));
            }
        }
        due
    }
}
