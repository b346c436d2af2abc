//! No log line holds a secret, at any level; none at info or above holds an address or a number.
//!
//! Whole calls are played under a subscriber that keeps every line at trace.

use std::io::Write;
use std::sync::{Arc, Mutex};

use cusax_tests::peer::phone::Phone;
use cusax_tests::sim::{SECOND, Scene};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn logs_keep_secrets_and_addresses() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    let mut responses = Vec::new();
    tracing::subscriber::with_default(subscriber, || {
        for whom in [
            "sip:bob.phone@sip.example.com",
            "sip:01511234567@sip.example.com",
            "tel:030901821",
        ] {
            let mut scene = Scene::registered(1);
            scene.alice_calls(whom);
            scene.world.run(5 * SECOND);
            scene.world.act(scene.alice, Phone::hang_up);
            scene.nothing_is_left();
            responses.extend(scene.world.phone(scene.alice).proofs());
        }
        let mut scene = Scene::registered(2);
        scene.world.act(scene.trunk, |phone, now| {
            phone.call(now, "sip:+4930901821@sip.example.com")
        });
        scene.world.run(5 * SECOND);
        scene.world.inject(
            cusax_tests::sim::address(77, 5060),
            "INVITE sip:x SIP/2.0\r\nFrom: canary\r\n\r\n",
        );
        scene.world.act(scene.trunk, Phone::hang_up);
        scene.nothing_is_left();
    });
    let log = String::from_utf8(lines.0.lock().expect("one thread").clone()).expect("text");
    assert!(
        log.contains("call begins") && log.contains("call over"),
        "the calls were logged"
    );
    assert!(!responses.is_empty());
    for secret in ["alice-secret", "bob-secret"]
        .into_iter()
        .chain(responses.iter().map(String::as_str))
    {
        assert!(!log.contains(secret), "a secret is in the log");
    }
    let visible = log
        .lines()
        .filter(|line| [" INFO ", " WARN ", "ERROR "].iter().any(|level| line.contains(level)));
    for line in visible {
        for address in ["alice", "bob", "901820", "901821", "1511234567", "192.0.2."] {
            assert!(!line.contains(address), "{address} in: {line}");
        }
    }
}
