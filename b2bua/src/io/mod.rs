//! What touches the world.

pub mod driver;
pub mod relay;
pub mod transport;
