//! The checks behind the fuzz targets. Tests of the crates run the same ones on seeded inputs.

pub mod archives;
pub mod audits;
pub mod checks;
pub mod codec;
pub mod manifests;
pub mod policies;
pub mod scans;
