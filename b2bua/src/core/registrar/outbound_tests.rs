//! Flows (RFC 5626), paths (RFC 3327) and GRUUs (RFC 5627).

use cusax_common::core::sip::Status;
use cusax_common::core::sip::typed::{Contact, Path, Require, Unsupported};

use super::tests::{Ask, World, alice, aor, flow};
use super::*;
use crate::core::flow::Transport;

const DEVICE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";
const EDGE: &str = "Path: <sip:edge.example.net;lr;ob>";

fn device(sequence: u32, uri: &str, number: Option<u32>, more: &[&str]) -> Ask {
    let number = number.map_or_else(String::new, |number| format!(";reg-id={number}"));
    let contact = format!("Contact: <{uri}>;{DEVICE}{number}");
    let mut lines = vec!["Supported: path, outbound, gruu", &contact];
    lines.extend(more);
    Ask::new(sequence, &lines)
}

fn by(ask: Ask, port: u16) -> Ask {
    Ask {
        flow: flow(Transport::Tcp, port),
        ..ask
    }
}

/// Behind a proxy: there is a second Via.
fn proxied(mut ask: Ask, path: Option<&str>) -> Ask {
    ask.lines.insert(0, "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK0".into());
    ask.lines.extend(path.map(str::to_owned));
    ask
}

fn requires_outbound(response: &Response) -> bool {
    matches!(response.headers.opt::<Require>(), Ok(Some(require)) if require.has("outbound"))
}

#[test]
fn one_device_has_two_flows_and_each_goes_with_its_connection() {
    let mut world = World::new();
    for (sequence, number, port) in [(1, 1, 1000), (1, 2, 2000)] {
        let mut ask = by(device(sequence, "sip:a@10.0.0.2", Some(number), &[]), port);
        ask.call_id = if number == 1 { "one" } else { "two" };
        let response = world.ask(&ask);
        assert_eq!(response.status, Status::OK);
        assert!(requires_outbound(&response));
    }
    assert_eq!(
        world.registrar.bindings(&aor()).len(),
        2,
        "the same contact twice, by two flows"
    );
    // The first flow comes back by another connection, and takes its own place.
    let mut again = by(device(2, "sip:a@10.0.0.9", Some(1), &[]), 3000);
    again.call_id = "one";
    world.ask(&again);
    assert_eq!(world.registrar.bindings(&aor()).len(), 2);
    world
        .registrar
        .handle_flow_closed(world.now, flow(Transport::Tcp, 1000));
    assert_eq!(
        world.registrar.bindings(&aor()).len(),
        2,
        "that one is no longer in use"
    );
    world
        .registrar
        .handle_flow_closed(world.now, flow(Transport::Tcp, 2000));
    let left = world.registrar.bindings(&aor());
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].flow, flow(Transport::Tcp, 3000));
}

#[test]
fn a_flow_number_means_nothing_without_instance_support_or_first_hop() {
    // Without an instance it is passed over.
    let mut world = World::new();
    let lines = ["Supported: outbound", "Contact: <sip:a@10.0.0.2>;reg-id=1"];
    let response = world.ask(&Ask::new(1, &lines));
    assert!(response.status.is_success() && !requires_outbound(&response));
    assert!(!world.registrar.bindings(&aor())[0].contact.as_str().contains("reg-id"));

    // Without support for outbound it tells flows apart, and nothing is promised.
    let mut world = World::new();
    let contact = format!("Contact: <sip:a@10.0.0.2>;{DEVICE};reg-id=1");
    let response = world.ask(&Ask::new(1, &[&contact]));
    assert!(response.status.is_success() && !requires_outbound(&response));

    // A first hop that keeps no flows (RFC 5626 §6).
    let mut world = World::new();
    let ask = device(1, "sip:a@10.0.0.2", Some(1), &[]);
    for path in [None, Some("Path: <sip:edge.example.net;lr>")] {
        assert_eq!(world.ask(&proxied(ask.clone(), path)).status.code(), 439);
    }
    assert!(world.registrar.is_empty());
    let response = world.ask(&proxied(ask, Some(EDGE)));
    assert!(response.status.is_success() && requires_outbound(&response));
    let unaware = Ask::new(2, &[&contact]);
    let response = world.ask(&proxied(unaware, None));
    assert!(
        response.status.is_success() && !requires_outbound(&response),
        "passed over, not refused"
    );
}

#[test]
fn one_flow_is_registered_at_a_time() {
    let mut world = World::new();
    let two = device(1, "sip:a@10.0.0.2", Some(1), &["Contact: <sip:b@10.0.0.2>"]);
    assert_eq!(world.ask(&two).status, Status::BAD_REQUEST);
    let one_goes = device(2, "sip:a@10.0.0.2", Some(1), &["Contact: <sip:b@10.0.0.2>;expires=0"]);
    assert_eq!(world.ask(&one_goes).status, Status::OK);
}

#[test]
fn a_path_is_kept_given_back_and_outlives_a_restart() {
    let mut world = World::new();
    let path = "Path: <sip:b.example.net;lr>, <sip:a.example.net;lr;ob>";
    let response = world.ask(&Ask::new(1, &["Supported: path", "Contact: <sip:a@10.0.0.2>", path]));
    assert!(response.status.is_success());
    let told: Vec<String> = response
        .headers
        .list::<Path>()
        .unwrap()
        .iter()
        .map(|hop| hop.uri.to_string())
        .collect();
    assert_eq!(told, ["sip:b.example.net;lr", "sip:a.example.net;lr;ob"]);
    let kept = |world: &World| -> Vec<String> {
        let binding = &world.registrar.bindings(&aor())[0];
        binding.path.iter().map(|hop| hop.uri.to_string()).collect()
    };
    assert_eq!(kept(&world), told);

    let mut next = World::new();
    for (key, value) in &world.stored {
        next.registrar.restore(world.now, key, value, |_| true);
    }
    assert_eq!(kept(&next), told);
}

#[test]
fn a_path_that_the_phone_does_not_know_of_or_without_bound_is_refused() {
    let mut world = World::new();
    let response = world.ask(&Ask::new(1, &["Contact: <sip:a@10.0.0.2>", EDGE]));
    assert_eq!(response.status, Status::BAD_EXTENSION);
    assert!(
        response
            .headers
            .one::<Unsupported>()
            .is_ok_and(|unsupported| unsupported.has("path"))
    );
    let many: Vec<String> = (0..=MAX_PATH)
        .map(|i| format!("Path: <sip:p{i}.example.net;lr>"))
        .collect();
    let long = format!("Path: <sip:{}.example.net;lr>", "p".repeat(MAX_CONTACT));
    for path in [many, vec![long]] {
        let mut lines = vec!["Supported: path", "Contact: <sip:a@10.0.0.2>"];
        lines.extend(path.iter().map(String::as_str));
        assert_eq!(world.ask(&Ask::new(2, &lines)).status, Status::BAD_REQUEST);
    }
    assert!(world.registrar.is_empty());
}

/// The GRUUs that a phone is told: public and temporary.
fn gruus(response: &Response) -> (Uri, Uri) {
    let contact = &response.headers.list::<Contact>().unwrap()[0];
    let read = |name: &str| contact.params.unquoted(name).unwrap().parse().unwrap();
    (read("pub-gruu"), read("temp-gruu"))
}

#[test]
fn a_public_gruu_stays_and_temporary_ones_end_when_the_phone_begins_anew() {
    let mut world = World::new();
    let (public, first) = gruus(&world.ask(&device(1, "sip:a@10.0.0.2", None, &[])));
    let (same, second) = gruus(&world.ask(&device(2, "sip:a@10.0.0.2", None, &[])));
    assert_eq!(public, same);
    assert_ne!(first, second, "a new one each time");
    let leads = |world: &World, uri: &Uri| {
        world.registrar.gruu(uri).unwrap().map(|gruu| {
            let bindings = world.registrar.bindings(&gruu.aor);
            bindings
                .iter()
                .filter(|one| one.is_device(&gruu.aor, &gruu.device))
                .count()
        })
    };
    for uri in [&public, &first, &second] {
        assert_eq!(leads(&world, uri), Ok(1), "each of them is good");
    }
    // The phone was switched off and on: a new Call-ID.
    let mut anew = device(1, "sip:a@10.0.0.3", None, &[]);
    anew.call_id = "anew";
    let (same, third) = gruus(&world.ask(&anew));
    assert_eq!(public, same);
    assert_eq!(
        (leads(&world, &first), leads(&world, &second)),
        (Err(NotOurs), Err(NotOurs))
    );
    assert_eq!((leads(&world, &third), leads(&world, &public)), (Ok(1), Ok(1)));
    // It goes: only the public one is still a name.
    let mut gone = device(2, "sip:a@10.0.0.3", None, &["Expires: 0"]);
    gone.call_id = "anew";
    world.ask(&gone);
    assert_eq!((leads(&world, &third), leads(&world, &public)), (Err(NotOurs), Ok(0)));
}

#[test]
fn all_flows_of_a_device_begin_anew_together() {
    let mut world = World::new();
    let flow = |number: u32, call_id| Ask {
        call_id,
        flow: flow(Transport::Udp, 1000 + u16::try_from(number).unwrap()),
        ..device(1, "sip:a@10.0.0.2", Some(number), &[])
    };
    let leads = |world: &World, uri: &Uri| {
        let Some(Ok(gruu)) = world.registrar.gruu(uri) else {
            return 0;
        };
        let bindings = world.registrar.bindings(&gruu.aor).iter();
        bindings.filter(|one| one.is_device(&gruu.aor, &gruu.device)).count()
    };
    world.ask(&flow(1, "one"));
    let (_, first) = gruus(&world.ask(&flow(2, "two")));
    assert_eq!(leads(&world, &first), 2);
    let (_, second) = gruus(&world.ask(&flow(1, "anew")));
    assert_eq!((leads(&world, &first), leads(&world, &second)), (0, 2));
    world.assert_sound();
    // The shared state knows as well.
    let mut next = World::new();
    for (key, value) in &world.stored {
        next.registrar.restore(world.now, key, value, |_| true);
    }
    assert_eq!(leads(&next, &second), 2);
}

#[test]
fn gruus_are_told_to_whoever_knows_them_and_cannot_be_brought() {
    let mut world = World::new();
    let contact = format!(
        "Contact: <sip:a@10.0.0.2>;{DEVICE};pub-gruu=\"sip:bob@example.com;gr=x\";temp-gruu=\"sip:x@example.com;gr\""
    );
    let response = world.ask(&Ask::new(1, &[&contact]));
    let told = &response.headers.list::<Contact>().unwrap()[0];
    assert!(
        !told.params.has("pub-gruu") && !told.params.has("temp-gruu"),
        "it did not ask"
    );
    let response = world.ask(&Ask::new(2, &[&contact, "Supported: gruu"]));
    let (public, temporary) = gruus(&response);
    assert!(public.to_string().starts_with("sip:line7@example.com;gr="));
    assert!(temporary.to_string().starts_with("sip:tgruu."));
    let plain = world.ask(&Ask::new(3, &["Contact: <sip:b@10.0.0.2>", "Supported: gruu"]));
    let plain = plain.headers.list::<Contact>().unwrap();
    let plain = plain.iter().find(|one| one.uri.to_string().contains("b@")).unwrap();
    assert!(!plain.params.has("pub-gruu"), "without an instance there is none");
}

#[test]
fn an_address_that_leads_back_to_itself_is_no_contact() {
    let mut world = World::new();
    let (public, temporary) = gruus(&world.ask(&device(1, "sip:a@10.0.0.2", None, &[])));
    for uri in [
        "sip:line7@example.com".to_owned(),
        public.to_string(),
        temporary.to_string(),
    ] {
        let ask = Ask::contact(5, &format!("<{uri}>"));
        assert_eq!(world.ask(&ask).status, Status::FORBIDDEN, "{uri}");
    }
    assert_eq!(world.registrar.bindings(&aor()).len(), 1);
    assert!(alice().aors.contains(&aor()));
}
