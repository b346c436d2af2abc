//! The simulated world, what must hold of any bytes, and (feature `lab`) the laboratory of real servers, the
//! demonstration and the load.

#[cfg(feature = "lab")]
pub mod demo;
#[cfg(feature = "lab")]
pub mod lab;
#[cfg(feature = "lab")]
pub mod load;

pub mod fuzz;
pub mod peer;
pub mod sim;
