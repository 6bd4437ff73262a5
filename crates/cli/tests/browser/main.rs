//! The dashboard in a browser: the built command serves it, and headless Chromium looks at it, with a mouse, with the keyboard
//! alone, on a phone, in the dark. Pictures of all pages are kept in `pictures` below the build directory's `tmp`.
//!
//! Gated by `chromium`; what judges how pages are for all people needs `npm` and `npm-packages` as well.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts the built binary and a browser, and fails by panicking"
)]

/// The daemon of a scene is started by the scene.
const SERVED: bool = false;

mod acts;
mod admin;
mod axe;
#[path = "../plugins/daemon.rs"]
#[allow(dead_code, reason = "the tests of the daemon itself use more of it")]
mod daemon;
mod driver;
mod hostile;
mod keyboard;
#[path = "../plugins/outside.rs"]
mod outside;
mod returned;
mod scene;
mod walk;
#[path = "../plugins/world.rs"]
#[allow(dead_code, reason = "the tests of the commands use more of it")]
mod world;
