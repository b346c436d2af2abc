//! See the workspace README.

pub mod core;
#[cfg(feature = "io")]
pub mod io;
