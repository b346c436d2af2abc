//! The one folder in which a run writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Context as _, Result};

/// A folder of our own below the system's temporary folder, removed at the end.
///
/// Its name holds the process id, so that what a killed run left is recognised and removed by the next one.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes the folder, and removes those of runs that are no more.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        remove_leftovers();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("{PREFIX}{}-{number}-{name}", std::process::id()));
        fs::create_dir_all(&path).context(format_args!("making {}", path.display()))?;
        // Postgres runs as a user of its own and must pass through; nobody else need see what is in there.
        set_mode(&path, 0o711)?;
        LIVING.lock().expect(NO_PANIC).push(path.clone());
        Ok(Self {
            path,
            keep: std::env::var_os("CUSAX_KEEP_SCRATCH").is_some(),
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside the folder.
    #[must_use]
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// A folder inside the folder, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).context(format_args!("making {}", path.display()))?;
        Ok(path)
    }

    /// Writes a file inside the folder and tells where it stands.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, content).context(format_args!("writing {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What is left is removed by the next start; a test must not fail for it.
            let _ = fs::remove_dir_all(&self.path);
        }
        LIVING.lock().expect(NO_PANIC).retain(|path| *path != self.path);
    }
}

/// Removes every folder of this process: for an end that runs no destructors.
pub(super) fn remove_all() {
    if std::env::var_os("CUSAX_KEEP_SCRATCH").is_some() {
        return;
    }
    for path in LIVING.lock().expect(NO_PANIC).drain(..) {
        let _ = fs::remove_dir_all(path);
    }
}

/// Sets the permission bits of a path.
///
/// # Errors
/// When the system refuses.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .context(format_args!("permissions of {}", path.display()))
}

fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let owner: Option<u32> = owner.split('-').next().and_then(|id| id.parse().ok());
        if owner.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

const PREFIX: &str = "cusax-lab-";
const NO_PANIC: &str = "no holder of this lock panics";
static NEXT: AtomicU32 = AtomicU32::new(0);
static LIVING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner_and_a_dead_owners_folder_goes_at_the_next_start() {
        let dead = std::env::temp_dir().join(format!("{PREFIX}4294967295-0-test"));
        fs::create_dir_all(dead.join("inside")).expect("temporary folder is writable");
        let scratch = Scratch::new("test").expect("temporary folder is writable");
        assert!(!dead.exists(), "what a dead run left must go");
        let path = scratch.write("a", "b").expect("writable");
        assert!(path.exists());
        let folder = scratch.path().to_owned();
        drop(scratch);
        assert!(!folder.exists());
    }
}
