use std::net::SocketAddr;

use cusax_common::core::entropy::Seeded;
use cusax_common::core::user::Flags;

use super::*;
use crate::core::flow::{Identity, ListenerId};

#[test]
fn every_kind_of_call_finds_its_way() {
    use CallerKind::{Trunk as Outside, User as Inside};
    let number = |text: &str, class| Dialled::Number {
        tel: text.parse().unwrap(),
        class,
    };
    let name = |text: &str| Dialled::Name(text.parse().unwrap());
    let alice = || {
        Owner::User(Arc::new(user(
            "alice",
            &["sip:alice@ours.test", "sip:a2@ours.test"],
            "+4930901820",
        )))
    };
    let carol = || Owner::User(Arc::new(user("carol", &["sip:carol@ours.test"], "+4930901821")));
    let away = (480, Cause::Unreachable);
    let foreign = || Dialled::Foreign(Box::new(SipUri::new("zoe", "other.test".parse().unwrap())));
    let rows: Vec<(&str, CallerKind, Dialled, Owner, Expected)> = vec![
        (
            "an address of ours rings its phones, not those of the user's other addresses",
            Inside,
            name("sip:alice@ours.test"),
            alice(),
            Ok((
                "sip:alice@ours.test",
                vec!["sip:p1@192.0.2.1", "sip:p2@192.0.2.2"],
                None,
            )),
        ),
        (
            "a number of ours rings every phone of its owner once and is on-net",
            Inside,
            number("+4930901820", NumberClass::National),
            alice(),
            Ok((
                "sip:alice@ours.test",
                vec!["sip:p1@192.0.2.1", "sip:p2@192.0.2.2"],
                None,
            )),
        ),
        (
            "a user without a phone is away",
            Inside,
            name("sip:carol@ours.test"),
            carol(),
            Err(away),
        ),
        (
            "a number whose owner is away does not go to a trunk",
            Inside,
            number("+4930901821", NumberClass::National),
            carol(),
            Err(away),
        ),
        (
            "a name that nobody has",
            Inside,
            name("sip:x@ours.test"),
            Owner::Nobody,
            Err((404, Cause::Unreachable)),
        ),
        (
            "digits that nobody has",
            Inside,
            Dialled::Extension("sip:1900@ours.test".parse().unwrap()),
            Owner::Nobody,
            Err((484, Cause::BadNumber)),
        ),
        (
            "another number goes to the trunk that takes it",
            Inside,
            number("+4940123456", NumberClass::National),
            Owner::Nobody,
            Ok((
                "sip:+4940123456@carrier.test;user=phone",
                vec!["sip:+4940123456@carrier.test;user=phone"],
                Some("a"),
            )),
        ),
        (
            "the longest beginning wins, and the trunk of the lowest order comes first",
            Inside,
            number("+442079460000", NumberClass::Intl),
            Owner::Nobody,
            Ok((
                "sip:+442079460000@198.51.100.2:5062;user=phone",
                vec!["sip:+442079460000@198.51.100.2:5062;user=phone"],
                Some("b"),
            )),
        ),
        (
            "an emergency call goes as dialled by the first trunk for it",
            Inside,
            Dialled::Emergency { digits: "112".into() },
            Owner::Nobody,
            Ok((
                "sip:112@198.51.100.2:5062;user=phone",
                vec!["sip:112@198.51.100.2:5062;user=phone"],
                Some("b"),
            )),
        ),
        (
            "a trunk reaches the owner of a number",
            Outside,
            number("+4930901820", NumberClass::National),
            alice(),
            Ok((
                "sip:alice@ours.test",
                vec!["sip:p1@192.0.2.1", "sip:p2@192.0.2.2"],
                None,
            )),
        ),
        (
            "a trunk learns of nobody that they are away",
            Outside,
            number("+4930901821", NumberClass::National),
            carol(),
            Err(away),
        ),
        (
            "a trunk does not reach a trunk, and hears the same",
            Outside,
            number("+4940123456", NumberClass::National),
            Owner::Nobody,
            Err(away),
        ),
        (
            "a trunk does not reach names",
            Outside,
            name("sip:alice@ours.test"),
            alice(),
            Err(away),
        ),
        (
            "a trunk does not learn which names are there",
            Outside,
            name("sip:x@ours.test"),
            Owner::Nobody,
            Err(away),
        ),
        (
            "an address of others goes to their domain as dialled",
            Inside,
            foreign(),
            Owner::Nobody,
            Ok(("sip:zoe@other.test", vec!["sip:zoe@other.test"], None)),
        ),
        (
            "a trunk does not reach domains of others",
            Outside,
            foreign(),
            Owner::Nobody,
            Err(away),
        ),
        (
            "a trunk makes no emergency calls",
            Outside,
            Dialled::Emergency { digits: "112".into() },
            Owner::Nobody,
            Err(away),
        ),
    ];
    for (what, caller, dialled, owner, expected) in rows {
        let found = plan(&trunks(), phones, ways, &mut Seeded::new(1), caller, &dialled, &owner);
        if let (Ok(plan), Owner::User(_)) = (&found, &owner) {
            assert!(
                plan.number
                    .as_ref()
                    .is_none_or(|(_, class)| *class == NumberClass::Onnet),
                "{what}"
            );
        }
        if let Ok(plan) = &found {
            assert_eq!(plan.emergency, matches!(dialled, Dialled::Emergency { .. }), "{what}");
        }
        let found = found.map(|plan| {
            let targets: Vec<_> = plan
                .targets
                .iter()
                .map(|target| target.hops[0].uri.to_string())
                .collect();
            (plan.to.to_string(), targets, plan.trunk().map(str::to_owned))
        });
        let expected = expected
            .map(|(to, targets, trunk): (&str, Vec<&str>, Option<&str>)| {
                (
                    to.to_owned(),
                    targets.into_iter().map(str::to_owned).collect::<Vec<_>>(),
                    trunk.map(str::to_owned),
                )
            })
            .map_err(|(status, cause)| Refusal {
                status: Status::new(status).unwrap(),
                cause,
            });
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn without_a_trunk_there_is_no_way_out() {
    let dialled = Dialled::Number {
        tel: "+4940123456".parse().unwrap(),
        class: NumberClass::National,
    };
    let found = plan(
        &[],
        phones,
        ways,
        &mut Seeded::new(1),
        CallerKind::User,
        &dialled,
        &Owner::Nobody,
    );
    assert_eq!(found.unwrap_err(), NO_WAY_OUT);
    assert!(lookup(&Dialled::Emergency { digits: "112".into() }).is_none());
}

type Expected = Result<(&'static str, Vec<&'static str>, Option<&'static str>), (u16, Cause)>;

fn trunks() -> Vec<Trunk> {
    let trunk = |name: &str, address: &str, prefixes: &[&str], emergency| Trunk {
        name: name.into(),
        place: Place::Fixed(udp(address)),
        realm: (name == "a").then(|| "carrier.test".into()),
        certified: String::new(),
        prefixes: prefixes.iter().map(|&prefix| prefix.into()).collect(),
        order: 0,
        weight: 1,
        impp: false,
        asserted: true,
        emergency,
    };
    vec![
        trunk("a", "198.51.100.1:5060", &[], false),
        trunk("b", "198.51.100.2:5062", &["44", "1"], true),
        Trunk {
            order: 1,
            ..trunk("c", "198.51.100.3:5060", &["44"], true)
        },
    ]
}

fn ways(whose: Whose<'_>, _: &mut Seeded) -> Vec<Flow> {
    let Whose::Trunk(trunk) = whose else {
        return vec![udp("203.0.113.1:5060")];
    };
    match &trunk.place {
        Place::Fixed(flow) => vec![*flow],
        Place::Domain(_) => Vec::new(),
    }
}

fn udp(remote: &str) -> Flow {
    Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        remote: remote.parse::<SocketAddr>().unwrap(),
        identity: Identity::NONE,
    }
}

fn phone(uri: &str, remote: &str) -> Phone {
    Phone {
        instance: None,
        q: MAX_Q,
        hop: Hop {
            uri: uri.parse().unwrap(),
            flow: udp(remote),
            path: Vec::new(),
            exit: None,
        },
    }
}

/// Alice has two phones; the first is registered under both of her addresses.
fn phones(aor: &Aor) -> Vec<Phone> {
    match aor.as_str() {
        "sip:alice@ours.test" => vec![
            phone("sip:p1@192.0.2.1", "192.0.2.1:5060"),
            phone("sip:p2@192.0.2.2", "192.0.2.2:5060"),
        ],
        "sip:a2@ours.test" => vec![phone("sip:p1@192.0.2.1", "192.0.2.1:5060")],
        _ => Vec::new(),
    }
}

fn user(name: &str, aors: &[&str], number: &str) -> User {
    User {
        jid: format!("{name}@chat.test").parse().unwrap(),
        name: name.into(),
        aors: aors.iter().map(|aor| aor.parse().unwrap()).collect(),
        numbers: vec![number.parse().unwrap()],
        credentials: Vec::new(),
        flags: Flags::default(),
        language: "en".into(),
    }
}

/// RFC 5626 §7: one phone with two connections rings once, by the second one if the first is gone.
#[test]
fn several_registrations_of_one_phone_are_ways_to_it() {
    let named = |uri: &str, remote: &str, instance: &str| Phone {
        instance: Some(instance.into()),
        q: MAX_Q,
        ..phone(uri, remote)
    };
    let bindings = |_: &Aor| {
        vec![
            named("sip:a@192.0.2.1", "192.0.2.1:1000", "desk"),
            named("sip:a@192.0.2.2", "192.0.2.2:1000", "mobile"),
            named("sip:a@192.0.2.1;x", "192.0.2.1:1001", "desk"),
            phone("sip:a@192.0.2.3", "192.0.2.3:1000"),
            phone("sip:a@192.0.2.4", "192.0.2.4:1000"),
        ]
    };
    let alice = Owner::User(Arc::new(user("alice", &["sip:alice@ours.test"], "+4930901820")));
    let dialled = Dialled::Name("sip:alice@ours.test".parse().unwrap());
    let plan = plan(
        &[],
        bindings,
        ways,
        &mut Seeded::new(1),
        CallerKind::User,
        &dialled,
        &alice,
    )
    .unwrap();
    let hops: Vec<Vec<String>> = plan
        .targets
        .iter()
        .map(|target| target.hops.iter().map(|hop| hop.flow.remote.to_string()).collect())
        .collect();
    assert_eq!(
        hops,
        [
            vec!["192.0.2.1:1000", "192.0.2.1:1001"],
            vec!["192.0.2.2:1000"],
            vec!["192.0.2.3:1000"],
            vec!["192.0.2.4:1000"]
        ]
    );
}

/// What it is about, the trunks (name, beginnings, order, whether for emergencies), what is dialled, and which trunks are
/// tried.
type Choice<'a> = (
    &'a str,
    &'a [(&'a str, &'a [&'a str], u16, bool)],
    &'a str,
    &'a [&'a str],
);

#[test]
fn trunks_are_tried_in_their_order_and_only_those_with_the_longest_beginning() {
    let rows: [Choice<'_>; 8] = [
        (
            "by order, not as they are written",
            &[("a", &[], 2, true), ("b", &[], 0, true), ("c", &[], 1, true)],
            "+4940123456",
            &["b", "c", "a"],
        ),
        (
            "a shorter beginning is no spare",
            &[("a", &[], 0, true), ("b", &["44"], 1, true), ("c", &["4420"], 2, true)],
            "+442079460000",
            &["c"],
        ),
        (
            "who writes the longer beginning there too has a spare",
            &[("a", &["44", ""], 1, true), ("b", &["44"], 0, true)],
            "+442079460000",
            &["b", "a"],
        ),
        (
            "the longest of a trunk's own beginnings counts",
            &[
                ("a", &["4", "442"], 1, true),
                ("b", &["442"], 0, true),
                ("c", &["44"], 0, true),
            ],
            "+442079460000",
            &["b", "a"],
        ),
        (
            "order does not make up for a shorter beginning",
            &[("a", &["44"], 9, true), ("b", &["4"], 0, true)],
            "+442079460000",
            &["a"],
        ),
        (
            "every number is the shortest beginning",
            &[("a", &["1"], 0, true), ("b", &[], 0, true)],
            "+4940123456",
            &["b"],
        ),
        (
            "an emergency goes by every trunk for it, whatever its beginnings, in their order",
            &[("a", &["1"], 2, true), ("b", &[], 0, false), ("c", &["44"], 1, true)],
            "112",
            &["c", "a"],
        ),
        ("nobody takes it", &[("a", &["1"], 0, false)], "+4940123456", &[]),
    ];
    for (what, given, number, expected) in rows {
        let trunks: Vec<Trunk> = given
            .iter()
            .zip(1..)
            .map(|((name, prefixes, order, emergency), last)| Trunk {
                order: *order,
                ..one(name, last, prefixes, *emergency)
            })
            .collect();
        let found = tried(&trunks, number, 1);
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn trunks_of_one_order_share_the_calls_by_their_weights() {
    let weighted = |name: &str, last, order, weight| Trunk {
        order,
        weight,
        ..one(name, last, &[], true)
    };
    let trunks = [
        weighted("a", 1, 1, 1),
        weighted("b", 2, 1, 3),
        weighted("c", 3, 1, 6),
        weighted("first", 4, 0, 1),
        weighted("last", 5, 2, 1000),
    ];
    for number in ["+4940123456", "112"] {
        let mut firsts = std::collections::HashMap::new();
        for seed in 0..4_000 {
            let found = tried(&trunks, number, seed);
            assert_eq!(found, tried(&trunks, number, seed), "seed {seed}: the seed decides");
            assert_eq!((found[0].as_str(), found[4].as_str()), ("first", "last"), "seed {seed}");
            let mut all = found.clone();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), 5, "seed {seed}: each once");
            *firsts.entry(found[1].clone()).or_insert(0) += 1;
        }
        for (name, share) in [("a", 400), ("b", 1200), ("c", 2400)] {
            let times: i32 = firsts[name];
            assert!((times - share).abs() < 160, "{number}: {name} came first {times} times");
        }
    }
}

/// Each hop says by which trunk it goes, and names the number at that trunk.
#[test]
fn a_hop_belongs_to_its_trunk() {
    let first = Trunk {
        impp: true,
        asserted: false,
        realm: Some("one.test".into()),
        ..one("one", 1, &[], true)
    };
    let second = Trunk {
        order: 1,
        realm: Some("two.test".into()),
        ..one("two", 2, &[], true)
    };
    let servers = |whose: Whose<'_>, entropy: &mut Seeded| {
        let way = ways(whose, entropy)[0];
        let at = |port| {
            let mut way = way;
            way.remote.set_port(port);
            way
        };
        (5060..5080).map(at).collect()
    };
    let dialled = number("+4940123456");
    let plan = plan(
        &[first, second],
        phones,
        servers,
        &mut Seeded::new(1),
        CallerKind::User,
        &dialled,
        &Owner::Nobody,
    )
    .unwrap();
    let hops = &plan.targets[0].hops;
    assert_eq!(hops.len(), MAX_ATTEMPTS);
    for (index, hop) in hops.iter().enumerate() {
        let Some(Exit::Trunk { name, impp, asserted }) = &hop.exit else {
            panic!("{hop:?}");
        };
        let expected = match index {
            0..MAX_HOPS => ("one", true, false, "sip:+4940123456@one.test;user=phone"),
            _ => ("two", false, true, "sip:+4940123456@two.test;user=phone"),
        };
        let called = plan.called(hop).to_string();
        assert_eq!((name.as_str(), *impp, *asserted, called.as_str()), expected);
    }
    assert_eq!(plan.trunk(), Some("one"));
    assert_eq!(
        plan.hop(Turn {
            target: 0,
            hop: MAX_ATTEMPTS
        }),
        None
    );
}

fn one(name: &str, last: u8, prefixes: &[&str], emergency: bool) -> Trunk {
    Trunk {
        name: name.into(),
        place: Place::Fixed(udp(&format!("198.51.100.{last}:5060"))),
        prefixes: prefixes.iter().map(|&prefix| prefix.into()).collect(),
        emergency,
        ..trunks().remove(1)
    }
}

fn number(text: &str) -> Dialled {
    match text.strip_prefix('+') {
        Some(_) => Dialled::Number {
            tel: text.parse().unwrap(),
            class: NumberClass::National,
        },
        None => Dialled::Emergency { digits: text.into() },
    }
}

/// The names of the trunks that are tried.
fn tried(trunks: &[Trunk], whom: &str, seed: u64) -> Vec<String> {
    let mut entropy = Seeded::new(seed);
    let plan = plan(
        trunks,
        phones,
        ways,
        &mut entropy,
        CallerKind::User,
        &number(whom),
        &Owner::Nobody,
    );
    let hops = plan.map_or_else(|_| Vec::new(), |mut plan| plan.targets.remove(0).hops);
    hops.iter().map(|hop| hop.trunk().unwrap().to_owned()).collect()
}
