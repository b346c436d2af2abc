//! What touches the world.

pub mod driver;
pub mod meter;
pub mod relay;
pub mod resolver;
pub mod transport;
