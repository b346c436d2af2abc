#![expect(clippy::disallowed_methods, reason = "time has to begin somewhere")]

use std::collections::HashSet;
use std::net::SocketAddr;

use cusax_common::core::entropy::Seeded;

use super::*;
use crate::core::flow::Transport;

/// A zone in memory: `name TYPE data…`, as in a zone file. A line `name TYPE !` is never answered.
struct Zone(Vec<(&'static str, Vec<&'static str>)>);

impl Zone {
    fn new(text: &'static str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Self(
            lines
                .map(|line| {
                    let mut words = line.split_whitespace();
                    (words.next().unwrap(), words.collect())
                })
                .collect(),
        )
    }

    fn answer(&self, query: &Query) -> Option<Answer> {
        let kind = match query.kind {
            Kind::Naptr => "NAPTR",
            Kind::Srv => "SRV",
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
        };
        let lines: Vec<_> = self
            .0
            .iter()
            .filter(|(name, words)| *name == query.name && words[0] == kind)
            .map(|(_, words)| &words[1..])
            .collect();
        if lines.iter().any(|words| words[0] == "!") {
            return None;
        }
        let records = match query.kind {
            Kind::Naptr => Records::Naptr(
                lines
                    .iter()
                    .map(|words| Naptr {
                        order: words[0].parse().unwrap(),
                        preference: words[1].parse().unwrap(),
                        flags: words[2].into(),
                        service: words[3].into(),
                        regexp: words[4].trim_matches('"').into(),
                        replacement: words[5].into(),
                    })
                    .collect(),
            ),
            Kind::Srv => Records::Srv(
                lines
                    .iter()
                    .map(|words| Srv {
                        priority: words[0].parse().unwrap(),
                        weight: words[1].parse().unwrap(),
                        port: words[2].parse().unwrap(),
                        target: words[3].into(),
                    })
                    .collect(),
            ),
            Kind::A | Kind::Aaaa => Records::Addresses(lines.iter().map(|words| words[0].parse().unwrap()).collect()),
        };
        Some(Answer {
            records,
            ttl: Duration::from_secs(300),
        })
    }
}

fn everything() -> Reach {
    let mut reach = HashSet::new();
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        reach.extend([(transport, Family::V4), (transport, Family::V6)]);
    }
    Reach(reach)
}

fn only(transports: &[Transport]) -> Reach {
    Reach(transports.iter().map(|by| (*by, Family::V4)).collect())
}

fn goal(domain: &str) -> Goal {
    Goal {
        domain: domain.into(),
        port: None,
        transport: None,
    }
}

/// What a zone leads to, and how many rounds of questions that took.
fn follow(goal: &Goal, reach: &Reach, zone: &Zone) -> (Vec<String>, usize) {
    let mut known = Known::new();
    for round in 0.. {
        match search(goal, reach, &known) {
            Step::Ask(queries) => {
                assert!(!queries.is_empty() && round < 10, "it asks for ever");
                for query in queries {
                    let answer = zone.answer(&query);
                    assert!(known.insert(query, answer).is_none(), "asked again");
                }
            }
            Step::Found { servers, .. } => {
                let order = draw(&servers, &mut Seeded::new(1));
                let order = order.iter().map(|one| format!("{} {}", one.transport, one.address));
                return (order.collect(), round);
            }
        }
    }
    unreachable!()
}

const ZONE: &str = "
    example.com NAPTR 90 50 s SIP+D2T \"\" _sip._tcp.example.com.
    example.com NAPTR 50 50 S sips+d2t \"\" _sips._tcp.example.com.
    example.com NAPTR 100 50 s SIP+D2U \"\" _sip._udp.example.com.
    example.com NAPTR 1 1 u E2U+sip \"!x!y!\" .
    _sips._tcp.example.com SRV 20 0 5061 b.example.com.
    _sips._tcp.example.com SRV 10 0 5081 A.example.com.
    _sip._udp.example.com SRV 0 0 5060 a.example.com.
    a.example.com A 192.0.2.1
    a.example.com AAAA 2001:db8::1
    b.example.com A 192.0.2.2
    example.com A 192.0.2.9
";

#[test]
fn naptr_names_the_transport_and_srv_the_servers() {
    let (order, rounds) = follow(&goal("example.com"), &everything(), &Zone::new(ZONE));
    assert_eq!(
        order,
        ["TLS [2001:db8::1]:5081", "TLS 192.0.2.1:5081", "TLS 192.0.2.2:5061"]
    );
    assert_eq!(rounds, 3, "NAPTR, SRV, addresses");
}

#[test]
fn a_transport_that_we_do_not_have_is_passed_over() {
    let (order, _) = follow(&goal("example.com"), &only(&[Transport::Udp]), &Zone::new(ZONE));
    assert_eq!(order, ["UDP 192.0.2.1:5060"]);
}

#[test]
fn a_port_is_taken_as_it_is_and_srv_is_not_asked() {
    let fixed = Goal {
        port: Some(5070),
        ..goal("example.com")
    };
    assert_eq!(
        follow(&fixed, &everything(), &Zone::new(ZONE)).0,
        ["UDP 192.0.2.9:5070"]
    );
    let by_tls = Goal {
        transport: Some(Transport::Tls),
        ..fixed
    };
    assert_eq!(
        follow(&by_tls, &everything(), &Zone::new(ZONE)).0,
        ["TLS 192.0.2.9:5070"]
    );
}

#[test]
fn without_naptr_the_safest_service_that_is_there_is_taken() {
    let zone = Zone::new(
        "_sip._udp.example.com SRV 0 0 5060 a.example.com
         _sip._tcp.example.com SRV 0 0 5062 a.example.com
         _sips._tcp.example.com SRV 0 0 0 .
         a.example.com A 192.0.2.1",
    );
    assert_eq!(
        follow(&goal("example.com"), &everything(), &zone).0,
        ["TCP 192.0.2.1:5062"]
    );
    let udp = Goal {
        transport: Some(Transport::Udp),
        ..goal("example.com")
    };
    assert_eq!(follow(&udp, &everything(), &zone).0, ["UDP 192.0.2.1:5060"]);
}

#[test]
fn without_any_service_the_host_itself_is_asked() {
    let zone = Zone::new("example.com A 192.0.2.9");
    assert_eq!(
        follow(&goal("example.com"), &everything(), &zone).0,
        ["UDP 192.0.2.9:5060"]
    );
    let by_tls = Goal {
        transport: Some(Transport::Tls),
        ..goal("example.com")
    };
    assert_eq!(follow(&by_tls, &everything(), &zone).0, ["TLS 192.0.2.9:5061"]);
    assert!(follow(&goal("nowhere.example"), &everything(), &zone).0.is_empty());
}

/// Whoever holds up one answer must not get calls in the clear that would have gone by TLS.
#[test]
fn where_dns_does_not_say_how_nothing_is_found() {
    let reached = "_sips._tcp.example.com SRV 0 0 5061 a.example.com
         _sip._udp.example.com SRV 0 0 5060 a.example.com
         a.example.com A 192.0.2.1
         example.com A 192.0.2.9\n";
    for held in ["example.com NAPTR !", "_sips._tcp.example.com SRV !"] {
        let zone = Zone::new(format!("{held}\n{reached}").leak());
        assert!(
            follow(&goal("example.com"), &everything(), &zone).0.is_empty(),
            "{held}"
        );
    }
    let fixed = Goal {
        transport: Some(Transport::Udp),
        ..goal("example.com")
    };
    let zone = Zone::new("_sip._udp.example.com SRV !\nexample.com A 192.0.2.9");
    assert!(
        follow(&fixed, &everything(), &zone).0.is_empty(),
        "the host itself may be another server"
    );
    let zone = Zone::new("example.com AAAA !\nexample.com A 192.0.2.9");
    assert_eq!(
        follow(&fixed, &everything(), &zone).0,
        ["UDP 192.0.2.9:5060"],
        "one address is enough"
    );
}

#[test]
fn a_zone_cannot_make_us_ask_without_end() {
    let mut text = String::from("example.com NAPTR 1 1 s SIP+D2U \"\" _sip._udp.example.com\n");
    for i in 0..500 {
        text += &format!(
            "_sip._udp.example.com SRV 1 1 5060 h{i}.example.com\nh{i}.example.com A 192.0.2.{}\n",
            i % 250
        );
        text += &format!("h{i}.example.com A 198.51.100.{}\n", i % 250);
    }
    let zone = Zone::new(text.leak());
    let (order, _) = follow(&goal("example.com"), &everything(), &zone);
    assert_eq!(order.len(), MAX_CANDIDATES);
}

/// RFC 2782: three of four calls go to the server with three times the weight, and none without reason to a lower one.
#[test]
fn calls_are_shared_by_weight_within_a_priority() {
    let server = |priority, weight, last| Server {
        priority,
        weight,
        transport: Transport::Udp,
        addresses: vec![SocketAddr::from(([192, 0, 2, last], 5060))],
    };
    let servers = [
        server(1, 100, 1),
        server(1, 300, 2),
        server(2, 65_535, 3),
        server(1, 0, 4),
    ];
    let mut entropy = Seeded::new(7);
    let mut first = [0_u32; 5];
    for _ in 0..10_000 {
        let order = draw(&servers, &mut entropy);
        assert_eq!(order.len(), 4);
        assert_eq!(
            order[3].address.to_string(),
            "192.0.2.3:5060",
            "the other priority comes last"
        );
        let std::net::IpAddr::V4(ip) = order[0].address.ip() else {
            unreachable!()
        };
        first[usize::from(ip.octets()[3])] += 1;
    }
    assert!((7_200..7_700).contains(&first[2]), "{first:?}");
    assert!((2_300..2_700).contains(&first[1]), "{first:?}");
    assert!(first[4] < 100, "{first:?}");
}

/// Answers every question that waits.
fn serve(locator: &mut Locator, now: Instant, zone: &Zone) -> Vec<Output> {
    let mut told = Vec::new();
    while let Some(output) = locator.poll_output() {
        match output {
            Output::Ask { id, query } => locator.handle_answer(now, id, zone.answer(&query)),
            other => told.push(other),
        }
    }
    told
}

#[test]
fn a_domain_is_looked_up_again_when_its_time_is_over_and_what_was_found_stands_meanwhile() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut locator = Locator::new(only(&[Transport::Udp]));
    let id = locator.watch(start, goal("example.com"));
    assert!(locator.servers(id).is_empty(), "nobody waits for it");
    let zone = Zone::new("example.com A 192.0.2.1");
    assert_eq!(serve(&mut locator, start, &zone), [Output::Located(id)]);
    assert_eq!(locator.poll_timeout(), Some(at(300)));

    locator.handle_timeout(at(299));
    assert_eq!(
        locator.poll_output(),
        None,
        "not before the answers have lived their time"
    );
    locator.handle_timeout(at(300));
    assert_eq!(locator.servers(id).len(), 1, "what was found stands while DNS is asked");
    let moved = Zone::new("example.com A 192.0.2.2");
    assert_eq!(serve(&mut locator, at(300), &moved), [Output::Located(id)]);
    assert_eq!(locator.servers(id)[0].addresses[0].to_string(), "192.0.2.2:5060");
    locator.handle_timeout(at(600));
    assert_eq!(serve(&mut locator, at(600), &moved), [], "the same again is no news");
}

#[test]
fn while_dns_is_dead_what_was_found_stands_and_it_is_tried_again_ever_more_seldom() {
    let start = Instant::now();
    let mut locator = Locator::new(only(&[Transport::Udp]));
    let id = locator.watch(start, goal("example.com"));
    serve(&mut locator, start, &Zone::new("example.com A 192.0.2.1"));
    let mut now = start + Duration::from_secs(300);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        locator.handle_timeout(now);
        while let Some(output) = locator.poll_output() {
            assert!(matches!(output, Output::Ask { .. }), "{output:?}");
        }
        let over = locator.poll_timeout().unwrap();
        assert_eq!(over - now, PATIENCE);
        locator.handle_timeout(over);
        assert_eq!(locator.poll_output(), Some(Output::Failed(id)));
        assert_eq!(locator.servers(id).len(), 1);
        now = locator.poll_timeout().unwrap();
        pauses.push((now - over).as_secs());
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 80, 80]);
    assert!(locator.asked.is_empty(), "questions of old searches are forgotten");
    // An answer that comes after all is for nobody.
    locator.handle_answer(now, QueryId(1), None);
    locator.handle_timeout(now);
    assert_eq!(
        serve(&mut locator, now, &Zone::new("example.com A 192.0.2.3")),
        [Output::Located(id)]
    );
}
