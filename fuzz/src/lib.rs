//! The checks behind the fuzz targets. `crates/policy/tests` runs the same ones on seeded inputs.

pub mod checks;
