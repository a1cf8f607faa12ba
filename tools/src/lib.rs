//! condconv-tools
pub mod graph;
