//! What touches the world: clocks, stores, shared state, and the end of everything.

#[cfg(feature = "memory")]
pub mod cache;
pub mod clock;
pub mod config;
pub mod health;
mod lines;
pub mod shutdown;
#[cfg(all(feature = "memory", feature = "redis"))]
pub mod state;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub mod store;
pub mod telemetry;
