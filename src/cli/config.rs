//! `cusax config`

use clap::Subcommand;
use cusax_common::core::config::{Config, reference as render};

use super::Answer;

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// A commented file with every key and its default
    Sample,
    /// Every key in a table, as Markdown
    Reference,
    /// The configuration in force, with secrets as ***
    Show,
}

pub fn sample() -> Answer {
    let text = render::sample();
    Answer::new(text.clone(), text.into())
}

pub fn reference() -> Answer {
    let text = render::reference();
    Answer::new(text.clone(), text.into())
}

pub fn show(config: &Config) -> Answer {
    Answer::new(render::show(config), config.to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_deploy_are_what_the_code_generates() {
        let made = [
            ("sample.toml", sample().text, "sample"),
            ("reference.md", reference().text, "reference"),
        ];
        for (file, text, command) in made {
            let path = format!("{}/deploy/config/{file}", env!("CARGO_MANIFEST_DIR"));
            let stored = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                stored == text,
                "stale: run `cusax config {command} > deploy/config/{file}`"
            );
        }
    }
}
