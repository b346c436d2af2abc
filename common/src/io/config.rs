//! Opens the files of a configuration.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::core::config::{Config, Faults, Layers};

/// Where the configuration stands unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/cusax/cusax.toml";

/// Reads the file, `conf.d/*.toml` beside it in the order of their names, and the environment of this process.
///
/// # Errors
/// Every fault there is, at once; a file that cannot be opened is among them.
pub fn load(path: &Path) -> Result<Config, Faults> {
    let folder = path.parent().unwrap_or(Path::new("."));
    Config::read(layers(path, folder), &|secret| read_secret(&folder.join(secret)))
}

/// The same for whoever needs no secret of the service, and may have no right to it.
///
/// # Errors
/// As [`load`].
pub fn load_without_secrets(path: &Path) -> Result<Config, Faults> {
    let folder = path.parent().unwrap_or(Path::new("."));
    Config::read_without_secrets(layers(path, folder))
}

fn layers(path: &Path, folder: &Path) -> Layers {
    let mut layers = add(Layers::new(), path);
    let more = folder.join("conf.d");
    if let Ok(entries) = fs::read_dir(&more) {
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        for file in files {
            layers = add(layers, &file);
        }
    }
    let variables =
        std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
    layers.environment(variables)
}

fn add(layers: Layers, path: &Path) -> Layers {
    let name = path.display().to_string();
    match read_bounded(path, MAX_FILE) {
        Ok(text) => layers.file(&name, &text),
        Err(why) => {
            let fix = "create it from `cusax config sample`, or name another with --config";
            layers.unreadable(&name, &why, fix)
        }
    }
}

/// The content of a secret file that not everybody can read.
fn read_secret(path: &Path) -> Result<String, (String, String)> {
    let shown = path.display();
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) => {
            return Err((
                format!("{shown}: {error}"),
                format!("create it with the secret in it, then chown root:cusax and chmod 640 {shown}"),
            ));
        }
    };
    if mode & OTHERS != 0 {
        let what = format!(
            "{shown} is open to every user of this machine (mode {:04o})",
            mode & 0o7777
        );
        return Err((
            what,
            format!("chmod 640 {shown}, and change the secret if others may have read it"),
        ));
    }
    read_bounded(path, MAX_SECRET).map_err(|why| {
        (
            format!("{shown}: {why}"),
            "make it a text file that cusax may read".to_owned(),
        )
    })
}

fn read_bounded(path: &Path, limit: u64) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(limit + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > limit {
        return Err(format!("is larger than {limit} bytes"));
    }
    Ok(text)
}

/// The bits of a mode that concern users who are neither the owner nor of the group.
const OTHERS: u32 = 0o007;
/// The largest configuration file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The largest secret file, in bytes.
const MAX_SECRET: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_open_secrets_are_refused() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let (main, secret) = (folder.path().join("cusax.toml"), folder.path().join("secret"));
        let text = "[sip]\ndomains = [\"sip.example.com\"]\n[[sip.listeners]]\naddress = \"127.0.0.1\"\n[xmpp]\n\
                    domain = \"example.com\"\ncomponent = \"calls.example.com\"\nsecret_file = \"secret\"\n[numbers]\ncountry = \"DE\"\n";
        fs::write(&main, text).expect("written");
        let told = load(&main).expect_err("no secret yet").to_string();
        assert!(
            told.contains("xmpp.secret_file: ") && told.contains("chmod 640"),
            "{told}"
        );

        fs::write(&secret, "canary\n").expect("written");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("mode");
        let told = load(&main).expect_err("open secret").to_string();
        assert!(
            told.contains("mode 0644") && told.contains("chmod 640") && !told.contains("canary"),
            "{told}"
        );

        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("mode");
        assert_eq!(load(&main).expect("whole").xmpp.secret.expose(), "canary");

        fs::create_dir(folder.path().join("conf.d")).expect("folder");
        fs::write(folder.path().join("conf.d/10-media.toml"), "[media]\nworkers = 2\n").expect("written");
        fs::write(folder.path().join("conf.d/20-media.toml"), "[media]\nworkers = 3\n").expect("written");
        fs::write(folder.path().join("conf.d/30-media.toml.bak"), "[media]\nworkers = 4\n").expect("written");
        assert_eq!(load(&main).expect("whole").media.workers, 3);

        let told = load(&folder.path().join("none.toml")).expect_err("no file").to_string();
        assert!(told.contains("none.toml: ") && told.contains("--config"), "{told}");
    }
}
