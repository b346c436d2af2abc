//! The steps, in the order of the demonstration.

pub mod call;
pub mod charge;
pub mod login;
pub mod mallory;
pub mod phones;
pub mod records;
pub mod registration;
