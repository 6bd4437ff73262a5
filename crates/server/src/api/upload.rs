//! A package in the body of a request: an archive that is unpacked while it comes in, and never held in memory.
//!
//! What a person allows stands in the query then, as it stands beside the path in a document.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use ringfence::Host;
use ringfence::archive::{ARCHIVE_BYTES_MAX, UnpackedPackage};
use ringfence_api::{ErrorCode, Permission};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::Api;
use super::asked::{Json, Sent, Wanted, judge_head, media, too_large};
use super::error::Failure;
use super::plugins::ConsentBody;

/// How long nothing of an archive may come.
const IDLE_WAIT: Duration = Duration::from_secs(30);
/// How long all of it may take.
const WHOLE_WAIT: Duration = Duration::from_secs(600);
/// Pieces of a body that wait to be unpacked; the sender waits then.
const PIECES_MAX: usize = 4;
/// What a package without a name of its own is called in errors and records.
const NAME: &str = "upload";

/// A package: where it lies, or the bytes themselves.
#[derive(Debug)]
pub(super) enum PackageSent<T> {
    Document(T),
    Archive(Body),
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Sent for PackageSent<T> {
    const MEDIA: Option<&'static str> = Json::<T>::MEDIA;
    const BINARY: &'static [&'static str] = &["application/gzip", "application/x-tar"];

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Json::<T>::schema(generator)
    }

    async fn read(body: Body, headers: &HeaderMap, most: usize) -> Result<Self, Failure> {
        if !Self::BINARY.contains(&media(headers).as_str()) {
            return Json::read(body, headers, most).await.map(|Json(document)| Self::Document(document));
        }
        judge_head(headers, ARCHIVE_BYTES_MAX)?;
        Ok(Self::Archive(body))
    }
}

/// What is allowed to an uploaded package. A document says it itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub(super) struct InstallQuery {
    /// With an archive: exactly these permissions, one each time.
    pub(super) grant: Vec<Permission>,
    /// With an archive: nothing is granted, and that is a consent.
    pub(super) grant_none: bool,
    /// With an archive: all that the manifest asks for.
    pub(super) grant_requested: bool,
}

/// The same for another version.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub(super) struct UpgradeQuery {
    /// With an archive: exactly these permissions, one each time.
    grant: Vec<Permission>,
    /// With an archive: nothing is granted, and that is a consent.
    grant_none: bool,
    /// With an archive: all that the manifest asks for.
    grant_requested: bool,
    /// With an archive: whether an older version is taken, too.
    pub(super) allow_downgrade: bool,
}

impl InstallQuery {
    /// # Errors
    /// `usage` when it says two things.
    pub(super) fn consent(self) -> Result<ConsentBody, Failure> {
        let Self { grant, grant_none, grant_requested } = self;
        if grant_none && (grant_requested || !grant.is_empty()) {
            return Err(Failure::new(ErrorCode::Usage, "`grant_none` excludes other grants"));
        }
        let grant = (grant_none || !grant.is_empty()).then_some(grant);
        Ok(ConsentBody { grant, grant_requested })
    }

    /// # Errors
    /// `usage` for a query beside a document.
    pub(super) fn require_empty(&self) -> Result<(), Failure> {
        UpgradeQuery::from(self.clone()).require_empty()
    }
}

impl UpgradeQuery {
    /// What is allowed.
    pub(super) fn grants(&self) -> InstallQuery {
        let Self { grant, grant_none, grant_requested, .. } = self.clone();
        InstallQuery { grant, grant_none, grant_requested }
    }

    /// # Errors
    /// `usage` for a query beside a document.
    pub(super) fn require_empty(&self) -> Result<(), Failure> {
        if *self == Self::default() {
            return Ok(());
        }
        let message = "beside a document the query says nothing: the document says what is granted";
        Err(Failure::new(ErrorCode::Usage, message))
    }

    /// Reads a query in which only these flags may stand.
    fn read_with(query: Option<&str>, flags: &[&str]) -> Result<Self, Failure> {
        let wrong =
            |error: &dyn std::fmt::Display| Failure::new(ErrorCode::Usage, format!("in the query: {error}"));
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(query.unwrap_or_default()).map_err(|error| wrong(&error))?;
        let mut read = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (key, value) in pairs {
            if key == "grant" {
                read.grant.push(value.parse().map_err(|error| wrong(&error))?);
                continue;
            }
            if !flags.contains(&key.as_str()) {
                return Err(wrong(&format!("unknown field `{}`", key.escape_debug())));
            }
            let is_true = value.parse().map_err(|_| wrong(&format!("`{key}` is true or false")))?;
            match key.as_str() {
                "grant_none" => read.grant_none = is_true,
                "grant_requested" => read.grant_requested = is_true,
                _ => read.allow_downgrade = is_true,
            }
            if seen.contains(&key) {
                return Err(wrong(&format!("`{key}` stands twice")));
            }
            seen.push(key);
        }
        Ok(read)
    }
}

impl From<InstallQuery> for UpgradeQuery {
    fn from(query: InstallQuery) -> Self {
        let InstallQuery { grant, grant_none, grant_requested } = query;
        Self { grant, grant_none, grant_requested, allow_downgrade: false }
    }
}

impl Wanted for InstallQuery {
    fn read(query: Option<&str>) -> Result<Self, Failure> {
        Ok(UpgradeQuery::read_with(query, &["grant_none", "grant_requested"])?.grants())
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.root_schema_for::<Self>())
    }
}

impl Wanted for UpgradeQuery {
    fn read(query: Option<&str>) -> Result<Self, Failure> {
        Self::read_with(query, &["grant_none", "grant_requested", "allow_downgrade"])
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.root_schema_for::<Self>())
    }
}

/// Unpacks an archive while it comes in.
///
/// # Errors
/// `busy` when others are uploading, or the server stops; `timeout`; `too_large` and `invalid_package` for what is in it.
pub(super) async fn unpack(api: &Api, host: &Host, body: Body) -> Result<UnpackedPackage, Failure> {
    let _one_of_few = api.uploads.try_acquire().map_err(|_| {
        Failure::new(ErrorCode::Busy, "too many packages are being uploaded already").hint("try again")
    })?;
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    let pumped = pump(body, sender, api.stop.clone());
    let archive = Pieces { pieces, rest: Bytes::new() };
    let (unpacked, pumped) = tokio::join!(host.unpack(archive, NAME), pumped);
    // Why nothing more came says more than that nothing came.
    pumped?;
    Ok(unpacked?)
}

type Piece = Result<Bytes, ()>;

/// Hands the body on piece by piece, for as long as anybody takes it.
async fn pump(
    mut body: Body,
    sender: mpsc::Sender<Piece>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let whole = async {
        let mut came = 0_u64;
        loop {
            let frame = tokio::time::timeout(IDLE_WAIT, body.frame()).await.map_err(|_| slow(IDLE_WAIT))?;
            let Some(frame) = frame else { return Ok(()) };
            let frame = frame.map_err(|_| Failure::new(ErrorCode::Usage, "the body broke off"))?;
            // Trailers say nothing.
            let Ok(data) = frame.into_data() else { continue };
            came = came.saturating_add(data.len() as u64);
            if came > ARCHIVE_BYTES_MAX {
                return Err(too_large(ARCHIVE_BYTES_MAX));
            }
            // It was refused already: what comes behind does not matter.
            if sender.send(Ok(data)).await.is_err() {
                return Ok(());
            }
        }
    };
    let came = tokio::select! {
        came = tokio::time::timeout(WHOLE_WAIT, whole) => came.unwrap_or_else(|_| Err(slow(WHOLE_WAIT))),
        // It is judged: whoever sends no more of it would wait for the answer, and then be told that it was slow.
        () = sender.closed() => Ok(()),
        () = crate::server::stopped(&mut stop) => {
            Err(Failure::new(ErrorCode::Busy, "the server stops").hint("try again when it runs"))
        }
    };
    if came.is_err() {
        // A body that ends here would look like one that is whole.
        let _refused_already = sender.send(Err(())).await;
    }
    came
}

fn slow(wait: Duration) -> Failure {
    Failure::new(ErrorCode::Timeout, format!("the body did not arrive within {} s", wait.as_secs()))
}

/// The body, for a thread that reads it.
struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.rest = piece,
                Some(Err(())) => return Err(io::Error::other("the body broke off")),
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(into.len());
        let piece = self.rest.split_to(count);
        into.get_mut(..count).unwrap_or_default().copy_from_slice(&piece);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_says_what_is_allowed_once() {
        let read = |query: &str| <InstallQuery as Wanted>::read(Some(query));
        let consent = |query: &str| read(query).and_then(InstallQuery::consent).ok();
        let some =
            |grant: Option<Vec<Permission>>, grant_requested| Some(ConsentBody { grant, grant_requested });
        assert_eq!(consent(""), some(None, false));
        assert_eq!(consent("grant_requested=true"), some(None, true));
        assert_eq!(consent("grant_none=true"), some(Some(Vec::new()), false));
        let two = vec!["env:read=LANG".parse().unwrap(), "file:read=/a/**".parse().unwrap()];
        assert_eq!(consent("grant=env:read%3DLANG&grant=file%3Aread%3D%2Fa%2F**"), some(Some(two), false));
        for query in [
            "grant=nothing",
            "grant_none=1",
            "x=true",
            "allow_downgrade=true",
            "grant_none=true&grant_none=true",
            "grant_none=true&grant_requested=true",
            "grant_none=true&grant=env:read",
        ] {
            assert_eq!(consent(query), None, "{query}");
        }
        let upgrade = <UpgradeQuery as Wanted>::read(Some("allow_downgrade=true&grant_none=true")).unwrap();
        assert!(upgrade.allow_downgrade && upgrade.grants().grant_none && upgrade.require_empty().is_err());
        assert!(<UpgradeQuery as Wanted>::read(None).unwrap().require_empty().is_ok());
    }
}
