//! The table under random sequences of everything that can happen to it.

use cusax_common::core::entropy::{Entropy as _, Seeded};
use proptest::prelude::*;

use super::*;

/// One step of a random run.
#[derive(Clone, Debug)]
enum Op {
    Request {
        method: usize,
        branch: u8,
        to: bool,
        sequence: u32,
        flow: u8,
    },
    Respond {
        server: u8,
        code: usize,
        once: bool,
    },
    Send {
        method: usize,
        branch: u8,
        flow: u8,
    },
    Response {
        method: usize,
        branch: u8,
        code: usize,
        flow: u8,
    },
    Cancel {
        client: u8,
    },
    Settle {
        server: u8,
    },
    Fail {
        flow: u8,
    },
    Elapse {
        ms: u32,
    },
}

const METHODS: [&str; 5] = ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"];
const CODES: [u16; 5] = [100, 180, 200, 404, 600];

fn op() -> impl Strategy<Value = Op> {
    let (method, code, branch, flow) = (0..METHODS.len(), 0..CODES.len(), 0..4_u8, 0..3_u8);
    prop_oneof![
        (method.clone(), branch.clone(), any::<bool>(), 1..3_u32, flow.clone()).prop_map(
            |(method, branch, to, sequence, flow)| Op::Request {
                method,
                branch,
                to,
                sequence,
                flow
            }
        ),
        (any::<u8>(), code.clone(), any::<bool>()).prop_map(|(server, code, once)| Op::Respond {
            server,
            code,
            once: once && server % 4 == 0
        }),
        (method.clone(), branch.clone(), flow.clone()).prop_map(|(method, branch, flow)| Op::Send {
            method,
            branch,
            flow
        }),
        (method, branch, code, flow.clone()).prop_map(|(method, branch, code, flow)| Op::Response {
            method,
            branch,
            code,
            flow
        }),
        any::<u8>().prop_map(|client| Op::Cancel { client }),
        any::<u8>().prop_map(|server| Op::Settle { server }),
        flow.prop_map(|flow| Op::Fail { flow }),
        (0..40_000_u32).prop_map(|ms| Op::Elapse { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: no panic, no growth beyond the limits, each transaction ends at most once,
    /// and once all is over nothing is left.
    #[test]
    fn any_sequence_leaves_nothing_behind(ops in prop::collection::vec(op(), 1..60)) {
        let limits = Limits { clients: 6, accepted: 3, servers: 6 };
        let mut table = Transactions::new(limits, &Seeded::new(1).bytes());
        let mut now = Instant::now();
        let flows = [
            udp(),
            flow(Transport::Udp, "192.0.2.8:5060"),
            flow(Transport::Tcp, "192.0.2.7:5070"),
        ];
        let message = |method: usize, branch: u8, to: bool, sequence: u32| {
            request(METHODS[method], &format!("z9hG4bK{branch}"), if to { "b" } else { "" }, sequence)
        };
        let (mut servers, mut clients) = (Vec::new(), Vec::new());
        let mut ended = std::collections::HashSet::new();
        for op in ops {
            match op {
                Op::Request { method, branch, to, sequence, flow } => {
                    let request = message(method, branch, to, sequence);
                    table.handle_message(now, flows[usize::from(flow)], request.into());
                }
                Op::Respond { server, code, once } => {
                    if let Some((id, request)) = servers.get(usize::from(server) % servers.len().max(1)) {
                        let response = reply(request, CODES[code], "b");
                        let _ = if once && CODES[code] >= 200 {
                            table.respond_once(*id, &response)
                        } else {
                            table.respond(now, *id, &response)
                        };
                    }
                }
                Op::Send { method, branch, flow } => {
                    clients.push(table.send(now, flows[usize::from(flow)], message(method, branch, false, 1)));
                }
                Op::Response { method, branch, code, flow } => {
                    let response = reply(&message(method, branch, false, 1), CODES[code], "b");
                    table.handle_message(now, flows[usize::from(flow)], response.into());
                }
                Op::Cancel { client } => {
                    if let Some(&id) = clients.get(usize::from(client) % clients.len().max(1)) {
                        table.cancel(now, id, None);
                    }
                }
                Op::Settle { server } => {
                    if let Some(&(id, _)) = servers.get(usize::from(server) % servers.len().max(1)) {
                        table.settle(id);
                    }
                }
                Op::Fail { flow } => table.handle_transport_failure(now, flows[usize::from(flow)]),
                Op::Elapse { ms } => {
                    now += Duration::from_millis(ms.into());
                    table.handle_timeout(now);
                }
            }
            while let Some(output) = table.poll_output() {
                match output {
                    Output::Request { server, request, .. } => servers.push((server, request)),
                    Output::Ended { id } => prop_assert!(ended.insert(id), "{id:?} ended twice"),
                    Output::Response { client, .. } | Output::Failed { client, .. } => {
                        prop_assert!(!ended.contains(&TransactionId::Client(client)), "output after the end");
                    }
                    _ => {}
                }
            }
            let (live_clients, live_servers) = table.live();
            prop_assert!(live_clients <= 2 * limits.clients + limits.accepted && live_servers <= limits.servers);
            prop_assert!(table.poll_timeout().is_none_or(|at| at > now), "a timer that is due stays armed");
        }
        // What waits for the layer above is answered; all else ends by itself.
        for (id, request) in &servers {
            let _ = table.respond(now, *id, &reply(request, 500, "b"));
        }
        for _ in 0..20 {
            now += Duration::from_secs(60);
            table.handle_timeout(now);
        }
        while let Some(output) = table.poll_output() {
            if let Output::Ended { id } = output {
                prop_assert!(ended.insert(id), "{id:?} ended twice");
            }
        }
        prop_assert_eq!(table.live(), (0, 0));
        prop_assert!(table.client_keys.is_empty() && table.client_flows.is_empty());
        prop_assert!(table.servers.len() == 0 && table.answered.is_empty() && table.deadlines.is_empty());
    }
}
