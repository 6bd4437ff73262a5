//! The body of an answer, read piece by piece up to its limit.

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::{failed, too_large};
use crate::rpc::RpcError;

/// # Errors
/// `too_large` as soon as it is known; what the server does wrong.
pub(super) async fn read(mut body: Incoming, max_bytes: usize) -> Result<Vec<u8>, RpcError> {
    fits(&body, max_bytes)?;
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(&super::dial::told(&error)))?;
        // Trailers are read, bounded by hyper, and dropped.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Whether a body is within its limit, as far as the head of the answer says.
///
/// # Errors
/// `too_large`.
pub(super) fn fits(body: &Incoming, max_bytes: usize) -> Result<(), RpcError> {
    match body.size_hint().lower() > u64::try_from(max_bytes).unwrap_or(u64::MAX) {
        true => Err(too_large(max_bytes)),
        false => Ok(()),
    }
}
