//! The XMPP half against real servers, with a bridge of the test's own in the place of the b2bua.
//!
//! What is asked here is asked on the wire, and of both servers alike: each test runs once with Prosody and once with
//! ejabberd, and its name tells which.
//!
//! - [`reach`]: addresses in presence, and who is on the phone.
//! - [`cards`]: numbers in vCards, and what rosters show of them.
//! - [`plugin`]: what the plugin in the server believes, and keeps.
//! - [`cluster`]: the same map on two nodes of ejabberd.
//! - [`protocol`]: what it does at each step that a component of the test's own says.
//! - [`size`]: what a large map costs.
//! - [`stack`], [`users`], [`stanzas`]: what they all stand on.

/// Makes two tests of each function: one with either server.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod prosody {
            $(#[test]
            fn $test() {
                super::$test(cusax_tests::lab::xmpp_server::Kind::Prosody);
            })+
        }
        mod ejabberd {
            $(#[test]
            fn $test() {
                super::$test(cusax_tests::lab::xmpp_server::Kind::Ejabberd);
            })+
        }
    };
}

mod cards;
mod cluster;
mod plugin;
mod protocol;
mod reach;
mod size;
mod stack;
mod stanzas;
mod users;

use std::time::Duration;

const ALICE: &str = "alice@atlanta.example";
const BOB: &str = "bob@atlanta.example";
const CAROL: &str = "carol@atlanta.example";
const REMOTE: &str = "bob@biloxi.example";
const ROBOT: &str = "robot@calls.atlanta.example";
const COMPONENT: &str = "calls.atlanta.example";
const SECRET: &str = "not so secret";
const AOR: &str = "sip:a.liddell@sip.atlanta.example";
const TEL: &str = "tel:+442079460018";
const BOBS_TEL: &str = "+447700900042";
const REACH: &str = "urn:xmpp:reach:0";
const CLIENTS: u16 = 15_222;
const COMPONENTS: u16 = 15_347;
/// For what must come.
const SOON: Duration = Duration::from_secs(8);
/// For what must not come.
const WHILE: Duration = Duration::from_millis(700);
