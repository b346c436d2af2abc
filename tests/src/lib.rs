//! The simulated world, and (feature `lab`) the laboratory of real servers.

#[cfg(feature = "lab")]
pub mod demo;
#[cfg(feature = "lab")]
pub mod lab;

pub mod peer;
pub mod sim;
