//! The codec against tables, against the whole parser, and against random cuts.

mod json;
mod lines;
mod messages;
