//! Session descriptions.

use std::net::SocketAddr;

use cusax_b2bua::core::media::rewrite::{Description, Origin, Rules, Way};
use cusax_common::core::entropy::Seeded;

/// What is read can be written, and what was written can be read again: as many streams of the same kinds, of which one
/// has our address and no other has any. Said again it is the same, octet for octet, but for blanks at the end.
pub fn description(data: &[u8]) {
    let rules = Rules::default();
    let Ok(description) = Description::read(data, &rules) else {
        return;
    };
    let ours: SocketAddr = "203.0.113.5:40000".parse().expect("an address");
    let mut origin = Origin::new(&mut Seeded::new(7));

    let relayed = description.written(Way::Relay(ours), &mut origin);
    assert_eq!(description.written(Way::Relay(ours), &mut origin), relayed);
    let again = Description::read(&relayed, &rules).expect("we can read what we write");
    again.answers(&description).expect("the same streams");
    assert_eq!(again.accepted(), description.accepted());
    assert_eq!(again.remote_rtp, description.accepted().then_some(ours));
    if again.accepted() {
        assert_eq!(again.direction, description.direction);
    }
    assert_eq!(
        (again.g711, again.telephone_event),
        (description.g711, description.telephone_event)
    );
    assert!(!again.video, "another stream that is wanted");
    let mut other = Origin::new(&mut Seeded::new(7));
    // Blanks at the end of the body are left out by whoever reads it.
    assert_eq!(
        again.written(Way::Relay(ours), &mut other).trim_ascii_end(),
        relayed.trim_ascii_end(),
        "once more changes more"
    );

    // Whatever a party names, the other one sees of it what we have put there.
    let text = String::from_utf8(relayed.to_vec()).expect("text");
    for line in text.lines().filter(|line| !line.starts_with(['o', 'c'])) {
        let words = line.split(|c: char| !(c.is_ascii_hexdigit() || ".:".contains(c)));
        for word in words.filter(|word| word.len() > 6) {
            assert!(word.parse::<std::net::IpAddr>().is_err(), "{line}");
        }
    }

    let direct = description.written(Way::Direct, &mut origin);
    if let Ok(direct) = Description::read(&direct, &rules) {
        assert_eq!(direct.remote_rtp, description.remote_rtp);
        assert_eq!(direct.remote_rtcp, description.remote_rtcp);
    }
    if let Ok(early) = description.early_answer(ours, &mut origin) {
        let early = Description::read(&early.body, &rules).expect("we can read what we write");
        early.answers(&description).expect("an answer");
        assert_eq!(early.g711, description.g711);
    }
}
