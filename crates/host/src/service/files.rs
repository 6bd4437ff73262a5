//! Files by way of the host: read, write, delete, list, under the same rules as in the sandbox.
//!
//! A path is taken as it is written, judged, and opened below the granted root with no link followed anywhere, so that what
//! was judged is what is opened. A link that lies in what is granted is read, and where it leads is judged anew: a plugin can
//! swap directories for links while the host looks, and never leads it outside. Start reading at [`visit`]; what is done at
//! the place is in `spot`.

mod spot;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use data_encoding::BASE64;
use ringfence_api::rpc::{MESSAGE_MAX_BYTES, RpcErrorCode};
use ringfence_policy::{CanonicalPath, FileOp, Request};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::asking::{Act, Asking, Room, answer, apart, failed};
use crate::exec::translate::lexical;
use crate::lifecycle::{Allowed, Target, measure};
use crate::rpc::RpcError;
use spot::{Fault, Last, Root, Spot};

/// The largest file that is read, in bytes: what fits a message beside its envelope. As JSON text or base64 it grows, and must
/// still fit.
pub const FILE_MAX_BYTES: u64 = (MESSAGE_MAX_BYTES - ENVELOPE_BYTES) as u64;
/// Entries of one directory that are listed; a larger one is refused, because half a list looks like a whole one.
pub const LISTED_MAX: usize = 10_000;
/// What the answer has beside the content.
const ENVELOPE_BYTES: usize = 4 * 1024;
/// Links on one way, and places that were swapped while they were opened: as many as the kernel follows (path_resolution(7)).
const HOPS_MAX: u32 = 40;
/// What the disk gives out at least: each file takes whole blocks.
const BLOCK_BYTES: u64 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathParams {
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteParams {
    path: String,
    content: Option<String>,
    content_base64: Option<String>,
}

#[derive(Serialize)]
struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
}

pub(super) async fn read(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let PathParams { path } = asking.params()?;
    let visit = Visit { op: FileOp::Read, last: Last::Followed, adds_bytes: None };
    let (bytes, mut act) = visit.make(&asking, &path, |spot| spot.read(FILE_MAX_BYTES)).await?;
    let content = match String::from_utf8(bytes) {
        Ok(text) => Content { content: Some(text), content_base64: None },
        Err(error) => Content { content: None, content_base64: Some(BASE64.encode(error.as_bytes())) },
    };
    let answered = answer(&content)?;
    if answered.get().len() as u64 > FILE_MAX_BYTES {
        let message = format!("the file as JSON is longer than {FILE_MAX_BYTES} bytes");
        return Err(RpcError::new(RpcErrorCode::TooLarge, message));
    }
    act.done();
    Ok(answered)
}

pub(super) async fn write(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let params: WriteParams = asking.params()?;
    let path = params.path.clone();
    let bytes = content(params)?;
    let size = bytes.len() as u64;
    if asking.target.limits.file_size_bytes.is_some_and(|most| size > most) {
        let message = format!("{size} bytes are more than the plugin's limit for one file");
        return Err(RpcError::new(RpcErrorCode::TooLarge, message));
    }
    let visit = Visit { op: FileOp::Write, last: Last::Followed, adds_bytes: Some(size) };
    let bytes: Arc<[u8]> = bytes.into();
    let ((), mut act) = visit.make(&asking, &path, move |spot| spot.write(&bytes)).await?;
    act.done();
    answer(&json!({}))
}

pub(super) async fn delete(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let PathParams { path } = asking.params()?;
    let visit = Visit { op: FileOp::Delete, last: Last::Itself, adds_bytes: None };
    let (deleted, mut act) = visit.make(&asking, &path, Spot::delete).await?;
    act.done();
    answer(&json!({ "deleted": deleted }))
}

pub(super) async fn list(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let PathParams { path } = asking.params()?;
    let visit = Visit { op: FileOp::Read, last: Last::Followed, adds_bytes: None };
    let target = Arc::clone(asking.target);
    let may_read = move |path: &Path| {
        let Ok(path) = CanonicalPath::new(path) else { return false };
        target.rules.decide(&Request::File { op: FileOp::Read, path }).is_allowed()
    };
    let (entries, mut act) = visit.make(&asking, &path, move |spot| spot.list(LISTED_MAX, &may_read)).await?;
    act.done();
    answer(&json!({ "entries": entries }))
}

/// What is to be written.
fn content(params: WriteParams) -> Result<Vec<u8>, RpcError> {
    let refuse = |why: &str| RpcError::new(RpcErrorCode::InvalidParams, why.to_owned());
    match (params.content, params.content_base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(encoded)) => BASE64
            .decode(encoded.as_bytes())
            .map_err(|error| refuse(&format!("content_base64 is not base64 (RFC 4648, section 4): {error}"))),
        _ => Err(refuse("write_file takes either content or content_base64")),
    }
}

/// One way to a file, and what for.
#[derive(Clone, Copy, Debug)]
struct Visit {
    op: FileOp,
    last: Last,
    /// What will be new on the disk, in bytes.
    adds_bytes: Option<u64>,
}

impl Visit {
    /// Judges the path, records the act, goes there, and does `work` there, on a thread of its own. Every link on the way
    /// begins anew with the path that it leads to.
    ///
    /// # Errors
    /// What the rules refuse; what `work` says.
    async fn make<T: Send + 'static>(
        self,
        asking: &Asking<'_>,
        typed: &str,
        work: impl Fn(&Spot) -> Result<T, Fault> + Clone + Send + 'static,
    ) -> Result<(T, Act), RpcError> {
        let target = asking.target;
        let mut path = lexical(&target.package.join(typed));
        let mut act = None;
        for _ in 0..HOPS_MAX {
            path = without_links(&target.links, path);
            let (canonical, root) = self.judge(asking, &path)?;
            let object = canonical.to_string();
            let begun = match act.take() {
                Some(begun) => begun,
                None => asking.begin(&object).await?,
            };
            let (work, place, target) = (work.clone(), path.clone(), Arc::clone(target));
            let room = Arc::clone(asking.room);
            let made = apart(move || {
                let _turn = self.reserve(&target, &room, &place)?;
                work(&Spot::enter(&root, &place, self.last, &target.holding)?)
            });
            match made.await? {
                Ok(value) => return Ok((value, begun)),
                Err(Fault::Elsewhere(next)) => path = next,
                Err(fault) => return Err(told(fault, asking, &object)),
            }
            act = Some(begun);
        }
        let shown = crate::consent::shown(typed);
        let message = format!("{shown} goes through more than {HOPS_MAX} links, or is swapped all the time");
        Err(failed(RpcErrorCode::InvalidParams, "invalid_params", message, (&asking.call.method, &shown)))
    }

    /// Whether the plugin may, and below what it is opened.
    fn judge(self, asking: &Asking<'_>, path: &Path) -> Result<(CanonicalPath, Root), RpcError> {
        let canonical = CanonicalPath::new(path).map_err(|error| {
            RpcError::new(RpcErrorCode::InvalidParams, format!("this cannot be a path: {error}"))
        })?;
        let object = canonical.to_string();
        let request = Request::File { op: self.op, path: canonical.clone() };
        asking.permit(&request, &object)?;
        let Some(root) = Root::of(&asking.target.rules, &canonical) else {
            let grant = request.narrowest_grant();
            let why = format!(
                "denied: {request}: a plugin has a /tmp, /proc, /dev and /sys of its own, and a grant of everything does not open the host's; this grant would: {grant}"
            );
            return Err(asking.deny(&object, Some(&grant), &why));
        };
        Ok((canonical, root))
    }

    /// Makes sure that what is added to the private directory fits, and that nobody else adds meanwhile. Counted with all
    /// rights: what a plugin has closed for itself takes room too.
    fn reserve<'r>(
        self,
        target: &Target,
        room: &'r Room,
        path: &Path,
    ) -> Result<Option<std::sync::MutexGuard<'r, ()>>, Fault> {
        let data = without_links(&target.links, target.data.clone());
        let Some(bytes) = self.adds_bytes.filter(|_| path.starts_with(&data)) else { return Ok(None) };
        let turn = room.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let most = Allowed { bytes: target.limits.data_bytes, files: target.limits.data_keys };
        let mut held = measure(&data, most).map_err(Fault::Io)?;
        // While a file is replaced, the old one and the new one take room.
        held.bytes = held.bytes.saturating_add(bytes.next_multiple_of(BLOCK_BYTES));
        held.files = held.files.saturating_add(1);
        match most.judge(held) {
            None => Ok(Some(turn)),
            Some(_) => Err(Fault::Quota(format!(
                "the file would bring the data directory to {} bytes and {} files; {} bytes and {} files are the most",
                held.bytes, held.files, most.bytes, most.files
            ))),
        }
    }
}

/// The path behind the links that the grants themselves go through: the sandbox shows those too.
fn without_links(links: &[(PathBuf, PathBuf)], path: PathBuf) -> PathBuf {
    let matching = links.iter().filter_map(|(from, to)| Some((from, to, path.strip_prefix(from).ok()?)));
    match matching.max_by_key(|(from, ..)| from.components().count()) {
        // Joining an empty rest would add a slash.
        Some((_, to, rest)) if rest.as_os_str().is_empty() => to.clone(),
        Some((_, to, rest)) => to.join(rest),
        None => path,
    }
}

/// What went wrong, as the plugin hears it.
fn told(fault: Fault, asking: &Asking<'_>, object: &str) -> RpcError {
    use std::io::ErrorKind as K;
    let about = (asking.call.method.as_str(), object);
    let invalid = |word: &str, message: String| failed(RpcErrorCode::InvalidParams, word, message, about);
    match fault {
        Fault::Refused(why) => invalid("invalid_params", format!("{object} {why}")),
        Fault::TooLarge(why) => RpcError::new(RpcErrorCode::TooLarge, format!("{object} {why}")),
        Fault::Quota(why) => RpcError::new(RpcErrorCode::Quota, why),
        Fault::Replaced(directory) => {
            let why = format!(
                "denied: {object}: {} is not the directory that was granted: another one has taken its place",
                directory.display()
            );
            asking.deny(object, None, &why)
        }
        Fault::Elsewhere(_) => invalid("invalid_params", format!("{object} is a link")),
        Fault::Io(error) => match error.kind() {
            K::NotFound => invalid("not_found", format!("{object} does not exist")),
            K::NotADirectory => {
                invalid("not_found", format!("something on the way to {object} is no directory"))
            }
            K::StorageFull | K::QuotaExceeded => RpcError::new(RpcErrorCode::Quota, "the disk is full"),
            kind => {
                let message = format!("the system refuses {object}: {kind}");
                failed(RpcErrorCode::Internal, "io", message, about)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_the_grants_is_left_by_its_deepest_name() {
        let links = [("/a".into(), "/x".into()), ("/a/b".into(), "/y".into())];
        for (from, to) in [("/a/c", "/x/c"), ("/a/b/c", "/y/c"), ("/a", "/x"), ("/ab", "/ab"), ("/a/b", "/y")]
        {
            assert_eq!(without_links(&links, from.into()).as_os_str(), to, "{from}");
        }
    }

    #[test]
    fn content_is_text_or_base64_and_never_both() {
        let params = |text: Option<&str>, encoded: Option<&str>| WriteParams {
            path: String::new(),
            content: text.map(str::to_owned),
            content_base64: encoded.map(str::to_owned),
        };
        assert_eq!(content(params(Some("a"), None)).unwrap(), b"a");
        assert_eq!(content(params(None, Some("/w=="))).unwrap(), b"\xff");
        for bad in [params(None, None), params(Some("a"), Some("YQ==")), params(None, Some("!"))] {
            assert_eq!(content(bad).unwrap_err().known(), Some(RpcErrorCode::InvalidParams));
        }
    }
}
