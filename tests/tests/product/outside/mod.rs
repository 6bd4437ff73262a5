//! Cases of other sandboxes' suites, told anew as tests of ours: the name and the source of each are theirs, the code is not.
//!
//! One module a source, with a table at its head of every case of it that was looked at: our test, or why there is none. A case
//! that an older test of ours holds already names that test, and is not repeated.

mod bubblewrap;
mod codex;
mod fence;
mod kilo;
mod rustbox;
mod sandbox_runtime;
mod sandlock;
