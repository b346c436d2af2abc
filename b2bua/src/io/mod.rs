//! What touches the world.

mod bell;
pub mod driver;
pub mod meter;
mod others;
pub mod relay;
pub mod resolver;
pub mod transport;
mod writer;
