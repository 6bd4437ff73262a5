//! What must hold for any archive. The fuzz target and an ordinary test of the library call the same function.

use std::io::Read as _;

use ringfence::archive;
use ringfence_api::ErrorCode;

/// An archive is read to its end the same way twice, or refused in words that a terminal can show.
pub fn archive(data: &[u8]) {
    match archive::look(data) {
        Ok(contents) => {
            assert!(contents.files + contents.directories <= 50_000 && contents.bytes <= 1_000_000_000);
            assert_eq!(archive::look(data.chain(std::io::empty())).expect("the same archive"), contents);
        }
        Err(error) => {
            assert!(matches!(error.code(), ErrorCode::InvalidPackage | ErrorCode::TooLarge), "{error:?}");
            assert!(!error.message().chars().any(char::is_control), "{error:?}");
            assert!(error.message().len() < 2_000 && error.hint().is_some(), "{error:?}");
        }
    }
}
