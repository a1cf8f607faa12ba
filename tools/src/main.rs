//! The `condconv` program.

fn main() {}
