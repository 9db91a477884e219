//! (being built)

pub mod topology;
