//! A form with a file, as browsers send it (RFC 7578): its fields first, then one file, which is handed on while it comes in and
//! never held.
//!
//! The form is one of ours, so what it can be is narrow: few short fields, the file behind them, nothing behind the file. What is
//! otherwise is refused, and of a form that breaks off the file never looks whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use memchr::memmem;
use ringfence_api::ErrorCode;
use tokio::sync::oneshot;

use super::form::Form;
use crate::api::Failure;

/// What such a form is sent as.
pub(super) const MEDIA: &str = "multipart/form-data";
/// Fields before the file.
const FIELDS_MAX: usize = 16;
/// What stands above one part, in bytes.
const HEAD_MAX_BYTES: usize = 4 * 1_024;
/// One field, in bytes.
const FIELD_MAX_BYTES: usize = 16 * 1_024;
/// A boundary, in bytes: RFC 2046 has as many.
const BOUNDARY_MAX_BYTES: usize = 70;
/// What may stand behind the last boundary, in bytes.
const EPILOGUE_MAX_BYTES: usize = 16;
/// How long the fields may take to arrive.
const FIELDS_WAIT: Duration = Duration::from_secs(30);
/// How long what comes behind a refusal is read, so that the browser gets to read the answer.
const REST_WAIT: Duration = Duration::from_secs(10);

/// The fields of such a form, and what is still to come.
#[derive(Debug, Default)]
pub(super) struct Posted {
    pub(super) form: Form,
    /// `None` when the form has no file, or none was chosen.
    pub(super) file: Option<Body>,
    pub(super) rest: Rest,
}

impl Posted {
    /// A form that was read to its end.
    pub(super) fn without_file(form: Form) -> Self {
        Self { form, ..Self::default() }
    }
}

/// What of a request has not been read when its work is done.
#[derive(Debug, Default)]
pub(super) struct Rest(Option<oneshot::Receiver<Body>>);

impl Rest {
    /// Reads it, and forgets it: a connection that is closed before it was read takes the answer with it.
    pub(super) async fn drain(self) {
        let Some(mut rest) = self.0.and_then(|mut back| back.try_recv().ok()) else { return };
        let all = async { while let Some(Ok(_)) = rest.frame().await {} };
        // Whoever sends for longer than that gets no answer.
        let _late = tokio::time::timeout(REST_WAIT, all).await;
    }
}

/// Reads the fields of a form, and leaves its file.
///
/// # Errors
/// `unsupported_media_type`, `usage`, `too_large`, `timeout` for what is no form of ours.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Posted, Failure> {
    let boundary = boundary(headers)
        .ok_or_else(|| Failure::new(ErrorCode::UnsupportedMediaType, "this page takes a form with a file"))?;
    let mut reader = Reader::new(body, &boundary);
    let read = tokio::time::timeout(FIELDS_WAIT, fields(&mut reader)).await;
    let (fields, has_file) = read.unwrap_or_else(|_| {
        let message = format!("the form did not arrive within {} s", FIELDS_WAIT.as_secs());
        Err(Failure::new(ErrorCode::Timeout, message))
    })?;
    let form = Form::of(fields);
    if !has_file {
        return Ok(Posted::without_file(form));
    }
    let (give_back, back) = oneshot::channel();
    let file = Body::new(File { reader: Some(reader), is_over: false, give_back: Some(give_back) });
    Ok(Posted { form, file: Some(file), rest: Rest(Some(back)) })
}

/// All fields up to the file, and whether there is one.
async fn fields(reader: &mut Reader) -> Result<(Vec<(String, String)>, bool), Failure> {
    let mut fields = Vec::new();
    reader.begin().await?;
    loop {
        match reader.next_part().await? {
            None => return Ok((fields, false)),
            // Of a form in which no file was chosen the name is empty, and so is what follows.
            Some(Head { file: Some(name), .. }) => return Ok((fields, !name.is_empty())),
            Some(Head { name, file: None }) => fields.push((name, reader.field().await?)),
        }
        if fields.len() > FIELDS_MAX {
            return Err(too_large(format!("the form has more than {FIELDS_MAX} fields")));
        }
    }
}

/// What parts are set apart by, from the head of a request; `None` for what is no such form.
fn boundary(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let value = all.next()?.to_str().ok().filter(|_| all.next().is_none())?;
    let (media, parameters) = value.split_once(';')?;
    if !media.trim().eq_ignore_ascii_case(MEDIA) {
        return None;
    }
    let parameter = parameters.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    let plain = parameter.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(parameter);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    let fits = (1..=BOUNDARY_MAX_BYTES).contains(&plain.len()) && plain.bytes().all(allowed);
    fits.then(|| plain.to_owned())
}

/// What stands above a part.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    name: String,
    /// What the browser calls the file; nobody believes it.
    file: Option<String>,
}

impl Head {
    fn read(lines: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(lines).ok()?;
        let disposition = text.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition").then_some(value.trim())
        })?;
        let rest = disposition.strip_prefix("form-data")?;
        let parameter = |wanted: &str| {
            let begin = rest.find(&format!("; {wanted}=\""))? + wanted.len() + 4;
            let value = rest.get(begin..)?;
            // Browsers write a quotation mark in a name as %22.
            value.get(..value.find('"')?).map(str::to_owned)
        };
        Some(Self { name: parameter("name")?, file: parameter("filename") })
    }
}

/// Cuts a body into parts.
#[derive(Debug)]
struct Reader {
    body: Body,
    /// What has come and was not handed on.
    held: Vec<u8>,
    /// A line end and the boundary: what ends a part.
    mark: Vec<u8>,
}

/// What of the content of a part has come.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// Some of it, perhaps nothing yet.
    Some(Vec<u8>),
    /// The end of it.
    Last(Vec<u8>),
}

impl Reader {
    fn new(body: Body, boundary: &str) -> Self {
        // Before the first boundary stands no line end; with one, all of them are alike.
        Self { body, held: b"\r\n".to_vec(), mark: format!("\r\n--{boundary}").into_bytes() }
    }

    async fn more(&mut self) -> Result<(), Failure> {
        let frame = self.body.frame().await.ok_or_else(broken)?.map_err(|_| broken())?;
        self.take(frame);
        Ok(())
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        // Trailers say nothing.
        if let Ok(data) = frame.into_data() {
            self.held.extend_from_slice(&data);
        }
    }

    /// Passes the first boundary.
    async fn begin(&mut self) -> Result<(), Failure> {
        while self.held.len() < self.mark.len() {
            self.more().await?;
        }
        if !self.held.starts_with(&self.mark) {
            return Err(wrong("it does not begin with its boundary"));
        }
        self.held.drain(..self.mark.len());
        Ok(())
    }

    /// What stands above the next part; `None` behind the last boundary.
    async fn next_part(&mut self) -> Result<Option<Head>, Failure> {
        while self.held.len() < 2 {
            self.more().await?;
        }
        if self.held.starts_with(b"--") {
            return Ok(None);
        }
        let end = loop {
            match memmem::find(&self.held, b"\r\n\r\n") {
                Some(at) if at <= HEAD_MAX_BYTES => break at,
                None if self.held.len() <= HEAD_MAX_BYTES => self.more().await?,
                Some(_) | None => {
                    let message = format!("above a part of the form stand more than {HEAD_MAX_BYTES} bytes");
                    return Err(too_large(message));
                }
            }
        };
        let lines = self.held.get(..end).and_then(|head| head.strip_prefix(b"\r\n"));
        let head = lines.and_then(Head::read);
        self.held.drain(..end + 4);
        head.map(Some).ok_or_else(|| wrong("a part of it has no name"))
    }

    /// Takes what is surely content of this part, and passes the boundary behind it.
    fn content(&mut self) -> Content {
        if let Some(at) = memmem::find(&self.held, &self.mark) {
            let last = self.held.drain(..at).collect();
            self.held.drain(..self.mark.len());
            return Content::Last(last);
        }
        // The end of it may be the beginning of the boundary.
        let sure = self.held.len().saturating_sub(self.mark.len() - 1);
        Content::Some(self.held.drain(..sure).collect())
    }

    /// The content of a field.
    async fn field(&mut self) -> Result<String, Failure> {
        let mut whole = Vec::new();
        loop {
            let (content, is_last) = match self.content() {
                Content::Some(content) => (content, false),
                Content::Last(content) => (content, true),
            };
            whole.extend(content);
            if whole.len() > FIELD_MAX_BYTES {
                return Err(too_large(format!("a field of the form has more than {FIELD_MAX_BYTES} bytes")));
            }
            if is_last {
                return String::from_utf8(whole).map_err(|_| wrong("a field of it is no UTF-8"));
            }
            self.more().await?;
        }
    }

    /// Whether what has come behind the file can be the end of the form.
    fn may_be_the_end(&self) -> bool {
        let (dashes, behind) = self.held.split_at(self.held.len().min(2));
        b"--".starts_with(dashes)
            && behind.len() <= EPILOGUE_MAX_BYTES
            && behind.iter().all(u8::is_ascii_whitespace)
    }
}

/// The file of a form, as a body of its own.
struct File {
    /// `None` once it has been given back.
    reader: Option<Reader>,
    /// Whether its last byte was handed on: the end of the form must follow.
    is_over: bool,
    give_back: Option<oneshot::Sender<Body>>,
}

impl http_body::Body for File {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = self.get_mut();
        let Some(reader) = this.reader.as_mut() else { return Poll::Ready(None) };
        loop {
            if !this.is_over {
                let content = match reader.content() {
                    Content::Some(content) => content,
                    Content::Last(content) => {
                        this.is_over = true;
                        content
                    }
                };
                if !content.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(content.into()))));
                }
            }
            let broken = || Poll::Ready(Some(Err(std::io::Error::other("the form broke off"))));
            if this.is_over && !reader.may_be_the_end() {
                return broken();
            }
            match ready!(Pin::new(&mut reader.body).poll_frame(context)) {
                Some(Ok(frame)) => reader.take(frame),
                None if this.is_over && reader.held.starts_with(b"--") => return Poll::Ready(None),
                Some(Err(_)) | None => return broken(),
            }
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let (Some(give_back), Some(reader)) = (self.give_back.take(), self.reader.take()) {
            // Nobody may wait for it any more.
            drop(give_back.send(reader.body));
        }
    }
}

fn wrong(what: &str) -> Failure {
    Failure::new(ErrorCode::Usage, format!("this is no form of this page: {what}"))
}

fn broken() -> Failure {
    Failure::new(ErrorCode::Usage, "the form broke off")
}

fn too_large(message: String) -> Failure {
    Failure::new(ErrorCode::TooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDARY: &str = "----WebKitFormBoundaryAbC123";

    /// A body that comes in these pieces.
    struct Pieces(std::collections::VecDeque<Bytes>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn headers(media: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, media.parse().unwrap())])
    }

    fn form(file: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        for (name, value) in [("csrf", "abc"), ("note", "ü")] {
            whole.extend(
                format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                    .bytes(),
            );
        }
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"package\"; filename=\"p.tar\"\r\nContent-Type: application/x-tar\r\n\r\n"
        );
        whole.extend(head.bytes());
        whole.extend(file);
        whole.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
        whole
    }

    /// What is read of a form that comes in pieces of this size: its fields and its file.
    async fn read_in(whole: &[u8], size: usize) -> Result<(Form, Option<Vec<u8>>), String> {
        let pieces = Pieces(whole.chunks(size).map(Bytes::copy_from_slice).collect());
        let headers = headers(&format!("{MEDIA}; boundary={BOUNDARY}"));
        let posted = read(&headers, Body::new(pieces)).await.map_err(|failure| failure.error.to_string())?;
        let file = match posted.file {
            None => None,
            Some(file) => Some(file.collect().await.map_err(|error| error.to_string())?.to_bytes().to_vec()),
        };
        posted.rest.drain().await;
        Ok((posted.form, file))
    }

    #[tokio::test]
    async fn however_it_is_cut_on_its_way_fields_and_file_are_the_same() {
        let nearly = format!("a\r\n--{}\r\n--", &BOUNDARY[..BOUNDARY.len() - 1]);
        for file in [&b""[..], b"x", b"\r\n", b"--", nearly.as_bytes(), &[0, 255, 13, 10, 45, 45].repeat(999)]
        {
            let whole = form(file);
            for size in [1, 2, 3, 7, 31, 64, whole.len()] {
                let (form, read) = read_in(&whole, size).await.unwrap();
                assert_eq!((form.text("csrf"), form.text("note")), (Some("abc"), Some("ü")));
                assert_eq!(read.as_deref(), Some(file), "in pieces of {size}");
            }
        }
    }

    #[tokio::test]
    async fn a_form_that_breaks_off_or_goes_on_is_never_whole() {
        let whole = form(b"content");
        assert!(read_in(&whole, 10).await.is_ok(), "the twin");
        // But for the line end behind it, which some leave out.
        for end in 0..whole.len() - 2 {
            assert!(read_in(&whole[..end], 10).await.is_err(), "cut at {end}");
        }
        for behind in [&b"x"[..], b"\r\nmore", &[b' '; 40]] {
            assert!(read_in(&[&whole, behind].concat(), 10).await.is_err(), "{behind:?}");
        }
        let second = form(b"second");
        let twice = [&whole[..whole.len() - 4], b"\r\n", &second[..]].concat();
        assert!(read_in(&twice, 10).await.is_err(), "a part behind the file");
    }

    #[tokio::test]
    async fn what_is_too_much_or_no_form_is_refused() {
        let field = |name: &str, value: &str| {
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let end = format!("--{BOUNDARY}--\r\n");
        let read = async |text: String| read_in(text.as_bytes(), 1_000).await;
        assert!(read(field("a", "b") + &end).await.is_ok_and(|(_, file)| file.is_none()), "the twin");
        assert!(read(field("a", &"x".repeat(FIELD_MAX_BYTES + 1)) + &end).await.is_err());
        assert!(read(field("a", "b").repeat(FIELDS_MAX + 1) + &end).await.is_err());
        assert!(read(field(&"x".repeat(HEAD_MAX_BYTES), "b") + &end).await.is_err());
        assert!(read(format!("preamble\r\n{}{end}", field("a", "b"))).await.is_err());
        assert!(read(format!("--{BOUNDARY}\r\nX: y\r\n\r\n\r\n{end}")).await.is_err());
        let nothing = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"package\"; filename=\"\"\r\n\r\n\r\n{end}"
        );
        assert_eq!(read(nothing).await.unwrap().1, None, "no file was chosen");
    }

    #[test]
    fn a_boundary_is_plain_and_stands_once() {
        let of = |media: &str| boundary(&headers(media));
        assert_eq!(of("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(of("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\""), None);
        assert_eq!(of("multipart/form-data; boundary=\"abc\"").as_deref(), Some("abc"));
        for wrong in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/mixed; boundary=a",
            "text/plain",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(of(&format!("{MEDIA}; boundary={}", "a".repeat(BOUNDARY_MAX_BYTES + 1))), None);
    }
}
