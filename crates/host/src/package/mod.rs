//! stub
use crate::{Error, store::Store};
pub(crate) fn verified(store: &Store, digest: &str) -> Result<std::path::PathBuf, Error> {
    Ok(store.layout().package(digest))
}
pub(crate) fn recover(_store: &Store) -> Result<(), Error> {
    Ok(())
}
