//! Fake parties, sans-IO like everything else in a simulation.

pub mod phone;
