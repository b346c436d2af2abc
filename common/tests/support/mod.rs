//! Where the torture messages of RFC 4475 and RFC 5118 are.

use std::io::Write as _;
use std::path::PathBuf;

/// Where `CUSAX_TORTURE` says, or beside the checkout. None, which is said aloud, if nobody says where and they are not
/// there; who does say where wants them read.
pub fn torture_folder() -> Option<PathBuf> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let given = std::env::var_os("CUSAX_TORTURE");
    let folder = workspace.join(given.clone().unwrap_or_else(|| "../shared/data".into()));
    if folder.join("torture-manifest.tsv").exists() {
        return Some(folder);
    }
    let why = format!("no torture messages in {}", folder.display());
    assert!(given.is_none(), "CUSAX_TORTURE: {why}");
    // Past the test harness, which keeps to itself what a test prints that passes.
    let _ = writeln!(
        std::io::stderr(),
        "skipped: {why}, and CUSAX_TORTURE names no other folder"
    );
    None
}
