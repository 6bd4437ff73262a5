//! The one stylesheet, the one script and the icon: ours, built in, named by their content.

use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderValue, Response, StatusCode};
use maud::{Markup, html};
use sha2::{Digest as _, Sha256};

use super::failure;

/// Bytes of the digest that name a file.
const NAME_BYTES: usize = 8;

/// A file that is served to everybody.
#[derive(Debug)]
pub(crate) struct Asset {
    stem: &'static str,
    extension: &'static str,
    media: &'static str,
    content: &'static str,
    digest: OnceLock<String>,
}

pub(crate) static STYLE: Asset =
    Asset::new("style", "css", "text/css; charset=utf-8", include_str!("asset/style.css"));
pub(crate) static SCRIPT: Asset =
    Asset::new("script", "js", "text/javascript; charset=utf-8", include_str!("asset/script.js"));
pub(crate) static ICON: Asset = Asset::new("icon", "svg", "image/svg+xml", include_str!("asset/icon.svg"));

impl Asset {
    const fn new(
        stem: &'static str,
        extension: &'static str,
        media: &'static str,
        content: &'static str,
    ) -> Self {
        Self { stem, extension, media, content, digest: OnceLock::new() }
    }

    fn digest(&self) -> &str {
        self.digest.get_or_init(|| {
            let digest = Sha256::digest(self.content.as_bytes());
            digest.iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect()
        })
    }

    fn file(&self) -> String {
        format!("{}-{}.{}", self.stem, self.digest(), self.extension)
    }

    /// Its address: another one as soon as its content is another.
    pub(crate) fn path(&self) -> String {
        format!("{}/static/{}", super::ROOT, self.file())
    }
}

/// Our mark, for the top of a page.
pub(crate) fn mark() -> Markup {
    html! {
        svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
            circle cx="12" cy="12" r="9" fill="none" stroke="currentColor" stroke-width="3" stroke-dasharray="4.7 2.37" {}
            circle cx="12" cy="12" r="3.4" fill="currentColor" {}
        }
    }
}

/// Serves one of them.
pub(super) async fn serve(request: Request) -> Response<Body> {
    let wanted = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some(asset) = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.file() == wanted) else {
        return failure::not_found(&request);
    };
    let tag = format!("\"{}\"", asset.digest());
    let known = request.headers().get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known =
        known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(asset.content) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}
