//! `cusax call`

use clap::Args;
use cusax_common::core::config::Config;
use jid::BareJid;

use super::Answer;
use super::ask::ask;
use super::failure::{Exit, Failure};
use crate::wiring::{Call, Wish};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The user whose phones ring first, and who pays
    #[arg(value_name = "JID")]
    user: BareJid,
    /// With whom they want to speak: an address, a number, or a name in the first domain
    #[arg(value_name = "ADDRESS")]
    to: String,
}

pub fn run(config: &Config, Arguments { user, to }: Arguments) -> Result<Answer, Failure> {
    let shown = (user.to_string(), to.clone());
    let reply = ask(config, &Wish::Call(Call { user, to }))?;
    if let Some(session) = reply["session"].as_str() {
        let (user, to) = shown;
        let text = format!("the phones of {user} ring; when one is answered, {to} is called\nsession {session}\n");
        return Ok(Answer::new(text, reply));
    }
    let (user, to) = shown;
    let told = match reply["status"].as_u64() {
        Some(403) => format!("{user} may not call {to}, or has as many calls as one may begin"),
        Some(404) => format!("there is no user {user}; `cusax user list` names all"),
        Some(480) => format!("no phone of {user} is registered"),
        Some(484 | 416) => format!("{to} is no address and no number that can be dialled"),
        _ => format!(
            "the service cannot now: {}",
            reply["reason"].as_str().unwrap_or("see its log")
        ),
    };
    let exit = match reply["status"].as_u64() {
        Some(403) => Exit::NoPermission,
        Some(404 | 480) => Exit::NoInput,
        Some(484 | 416) => Exit::Data,
        _ => Exit::Unavailable,
    };
    Err(Failure::new(exit, told))
}
