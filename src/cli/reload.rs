//! `cusax reload`

use cusax_common::core::config::Config;

use super::Answer;
use super::ask::ask;
use super::failure::{Exit, Failure};
use crate::wiring::Wish;

pub fn run(config: &Config) -> Result<Answer, Failure> {
    let reply = ask(config, &Wish::Reload)?;
    if reply["reloaded"] != true {
        let told = reply["error"].as_str().unwrap_or("see its log");
        return Err(Failure::new(
            Exit::Config,
            format!("the service keeps its configuration: {told}"),
        ));
    }
    let mut text = String::from("reloaded\n");
    for section in reply["needs_restart"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|section| section.as_str())
    {
        text.push_str(&format!("{section} has changed and takes effect at the next start\n"));
    }
    Ok(Answer::new(text, reply))
}
