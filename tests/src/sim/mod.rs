//! The simulated world: the SIP side of the service, phones, a store, a media engine and a network, in one thread and
//! under one clock that moves only when told.
//!
//! One seed decides everything that is random, so a failing run is replayed from the seed that it prints.

pub mod bench;
pub mod hand;
pub mod matrix;
mod net;
mod node;
pub mod party;
pub mod puppet;
mod scene;
pub mod stage;
pub mod storm;
mod world;

pub use net::Weather;
pub use scene::{DOMAIN, SECOND, Scene, scene, scene_of, scene_with, user};
pub use world::{Actor, World, address};
