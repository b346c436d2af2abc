//! Everything that can be decided without touching the world.

pub mod admission;
pub mod auth;
pub mod breaker;
pub mod call;
pub mod carriers;
pub mod cause;
pub mod deadline;
pub mod dialog;
pub mod endpoint;
pub mod flow;
pub mod flow_token;
pub mod headers;
pub mod identity;
pub mod ids;
pub mod locate;
pub mod media;
pub mod neighbour;
pub mod registrar;
pub mod routing;
pub mod settings;
pub mod share;
pub mod stun;
pub mod transaction;
pub mod websocket;
