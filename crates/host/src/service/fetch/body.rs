//! The body of an answer, read piece by piece up to its limit.

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use ringfence_api::rpc::RpcErrorCode;

use super::failed;
use crate::rpc::RpcError;

/// # Errors
/// `too_large` as soon as it is known; what the server does wrong.
pub(super) async fn read(mut body: Incoming, max_bytes: usize) -> Result<Vec<u8>, RpcError> {
    let too_large = || {
        RpcError::new(
            RpcErrorCode::TooLarge,
            format!("the body of the answer has more than {max_bytes} bytes"),
        )
    };
    if body.size_hint().lower() > u64::try_from(max_bytes).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(&super::dial::told(&error)))?;
        // Trailers are read, bounded by hyper, and dropped.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > max_bytes {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
