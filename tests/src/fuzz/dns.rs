//! Answers of DNS.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use cusax_b2bua::core::locate::{
    Answer, Family, Goal, GoalId, Kind, Known, Locator, MAX_CANDIDATES, MAX_QUERIES, Naptr, Output, PATIENCE, Query,
    QueryId, Reach, Records, Server, Srv, Step, draw, search,
};
use cusax_common::core::entropy::Seeded;

use super::feed::{Feed, epoch};

/// Answers of any shape: one search by itself, then a locator that watches some domains while answers come late, twice
/// or never.
pub fn dns(data: &[u8]) {
    let mut feed = Feed::new(data);
    let reach = reach(&mut feed);
    if feed.flag() {
        one_search(&mut feed, &reach);
    } else {
        watching(&mut feed, &reach);
    }
}

/// However DNS answers, a search ends, asks nothing twice, and finds only what we can reach.
fn one_search(feed: &mut Feed<'_>, reach: &Reach) {
    let goal = goal(feed);
    let mut known = Known::new();
    loop {
        match search(&goal, reach, &known) {
            Step::Ask(queries) => {
                assert!(!queries.is_empty(), "it waits for nothing");
                for query in queries {
                    asked(&query);
                    let answer = answer(feed, query.kind);
                    assert!(known.insert(query, answer).is_none(), "asked again");
                }
                assert!(known.len() <= MAX_QUERIES, "too many questions");
            }
            Step::Found { servers, ttl } => {
                found(&servers, reach, &goal);
                assert!(ttl <= Duration::from_secs(3600));
                let mut entropy = Seeded::new(feed.number().into());
                let order = draw(&servers, &mut entropy);
                let all: Vec<_> = servers.iter().flat_map(|one| &one.addresses).collect();
                assert_eq!(order.len(), all.len());
                assert!(order.iter().all(|one| all.contains(&&one.address)));
                return;
            }
        }
    }
}

fn watching(feed: &mut Feed<'_>, reach: &Reach) {
    let mut locator = Locator::new(reach.clone());
    let mut now = epoch();
    let mut goals: Vec<(GoalId, Goal)> = Vec::new();
    let mut waiting: Vec<(QueryId, Query)> = Vec::new();
    let mut located = HashSet::new();
    while !feed.is_empty() {
        match feed.below(6) {
            0 if goals.len() < 3 => {
                let goal = goal(feed);
                goals.push((locator.watch(now, goal.clone()), goal));
            }
            1 => locator.handle_answer(now, QueryId(feed.number().into()), None),
            2 => now += Duration::from_millis(feed.short().into()),
            3 => now = now.max(locator.poll_timeout().unwrap_or(now)),
            step => {
                let at = feed.below(waiting.len());
                if let Some((id, query)) = waiting.get(at).cloned() {
                    let answer = answer(feed, query.kind);
                    locator.handle_answer(now, id, answer);
                    // Another time it is said again.
                    if step == 4 {
                        waiting.remove(at);
                    }
                }
            }
        }
        locator.handle_timeout(now);
        while let Some(output) = locator.poll_output() {
            match output {
                Output::Ask { id, query } => {
                    asked(&query);
                    waiting.push((id, query));
                    if waiting.len() > 2 * MAX_QUERIES {
                        waiting.remove(0);
                    }
                }
                Output::Located(id) => {
                    located.insert(id);
                }
                Output::Failed(id) => assert!(goals.iter().any(|(known, _)| *known == id)),
            }
        }
        for (id, goal) in &goals {
            let servers = locator.servers(*id);
            found(servers, reach, goal);
            assert_eq!(!servers.is_empty(), located.contains(id), "what was found stands");
        }
        let next = locator.poll_timeout();
        let soon = |at| at > now && at <= now + Duration::from_secs(3600);
        assert_eq!(
            next.is_some_and(soon),
            !goals.is_empty(),
            "nobody looks again, or always"
        );
    }
    // Silence ends every search.
    for _ in 0..2 {
        now += PATIENCE;
        locator.handle_timeout(now);
    }
}

fn asked(query: &Query) {
    assert!(!query.name.is_empty() && query.name.len() <= 253, "no name: {query:?}");
}

fn found(servers: &[Server], reach: &Reach, goal: &Goal) {
    let addresses: usize = servers.iter().map(|one| one.addresses.len()).sum();
    assert!(addresses <= MAX_CANDIDATES, "{addresses} addresses");
    assert!(servers.is_sorted_by_key(|one| one.priority));
    for server in servers {
        assert!(
            goal.transport.is_none_or(|by| by == server.transport),
            "by another transport"
        );
        assert!(!server.addresses.is_empty());
        for address in &server.addresses {
            let family = Family::of(address.ip());
            assert!(
                reach.0.contains(&(server.transport, family)),
                "{address} is out of reach"
            );
            assert!(address.port() != 0 && goal.port.is_none_or(|port| port == address.port()));
        }
    }
}

fn reach(feed: &mut Feed<'_>) -> Reach {
    let mut all = HashSet::new();
    let chosen = feed.byte();
    for (at, transport) in [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter().enumerate() {
        for (bit, family) in [(1 << at, Family::V4), (8 << at, Family::V6)] {
            if chosen & bit == 0 {
                all.insert((transport, family));
            }
        }
    }
    Reach(all)
}

fn goal(feed: &mut Feed<'_>) -> Goal {
    Goal {
        domain: name(feed),
        port: [None, None, Some(5060), Some(1)][feed.below(4)],
        transport: [
            None,
            None,
            Some(Transport::Udp),
            Some(Transport::Tcp),
            Some(Transport::Tls),
        ][feed.below(5)],
    }
}

/// A name out of few, so that answers lead on, or any text.
fn name(feed: &mut Feed<'_>) -> String {
    const NAMES: [&str; 10] = [
        "example.com",
        "a.example",
        "b.example.",
        "_sip._udp.example.com",
        "_sip._tcp.example.com.",
        "_sips._tcp.a.example",
        ".",
        "",
        "A.EXAMPLE",
        "a..b",
    ];
    match feed.below(NAMES.len() + 1) {
        10 => feed.text(),
        at => NAMES[at].to_owned(),
    }
}

fn answer(feed: &mut Feed<'_>, kind: Kind) -> Option<Answer> {
    let shape = feed.byte();
    if shape & 0b111 == 0b111 {
        return None;
    }
    // Now and then records of another type than asked for.
    let kind = if shape & 0b111 == 0b110 {
        *feed.one(&[Kind::Naptr, Kind::Srv, Kind::A])
    } else {
        kind
    };
    let count = usize::from(shape >> 3);
    let ttl = Duration::from_secs(feed.number().into());
    let records = match kind {
        Kind::Naptr => Records::Naptr((0..count).map(|_| naptr(feed)).collect()),
        Kind::Srv => Records::Srv((0..count).map(|_| srv(feed)).collect()),
        Kind::A | Kind::Aaaa => Records::Addresses((0..count).map(|_| ip(feed)).collect()),
    };
    Some(Answer { records, ttl })
}

fn naptr(feed: &mut Feed<'_>) -> Naptr {
    const SERVICES: [&str; 6] = ["SIP+D2U", "sip+d2t", "SIPS+D2T", "SIP+D2S", "", "E2U+sip"];
    Naptr {
        order: feed.byte().into(),
        preference: feed.byte().into(),
        flags: (*feed.one(&["s", "S", "a", "u", ""])).to_owned(),
        service: (*feed.one(&SERVICES)).to_owned(),
        regexp: (*feed.one(&["", "", "", "!.*!sip:x!"])).to_owned(),
        replacement: name(feed),
    }
}

fn srv(feed: &mut Feed<'_>) -> Srv {
    Srv {
        priority: feed.byte().into(),
        weight: feed.short(),
        port: feed.short(),
        target: name(feed),
    }
}

fn ip(feed: &mut Feed<'_>) -> IpAddr {
    match feed.below(4) {
        0 | 1 => Ipv4Addr::new(192, 0, 2, feed.byte()).into(),
        2 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, feed.byte().into()).into(),
        _ => Ipv4Addr::new(192, 0, 2, feed.byte()).to_ipv6_mapped().into(),
    }
}
