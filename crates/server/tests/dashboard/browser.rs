//! Somebody at a browser: a cookie, the page that is open, and its forms.

use std::net::SocketAddr;

use ringfence_api::Role;

use crate::client::{Answer, Request, request};
use crate::rig::Rig;

/// One browser.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    address: SocketAddr,
    pub(crate) cookie: Option<String>,
    /// What the forms of its session carry.
    pub(crate) csrf: String,
}

impl Browser {
    /// One that has never been here.
    pub(crate) fn new(rig: &Rig) -> Self {
        Self { address: rig.address, cookie: None, csrf: String::new() }
    }

    /// One that is signed in with this token.
    pub(crate) fn signed_in(rig: &Rig, token: &str) -> Self {
        let mut browser = Self::new(rig);
        let answer = browser.post("/dashboard/login", &[("token", token)]);
        assert_eq!(answer.status, 303, "{}", page(&answer));
        browser.learn();
        browser
    }

    /// One that is signed in with this role.
    pub(crate) fn with_role(rig: &Rig, role: Role) -> Self {
        Self::signed_in(rig, &rig.token(role, None, None).1)
    }

    /// Reads from a page what forms carry.
    pub(crate) fn learn(&mut self) {
        let body = page(&self.get("/dashboard"));
        self.csrf = value_of(&body, "csrf").unwrap_or_else(|| panic!("no form in {body}"));
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        let request = request(method, &format!("/{path}"));
        match &self.cookie {
            Some(cookie) => request.header("Cookie", cookie),
            None => request,
        }
    }

    /// Opens a page.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        let answer = self.request("GET", path).send(self.address);
        self.keep(answer)
    }

    /// Opens a page that must be there, and gives its text.
    #[track_caller]
    pub(crate) fn open(&mut self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", page(&answer));
        page(&answer)
    }

    /// Sends a form of the page that is open.
    pub(crate) fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf.clone();
        let mut all = vec![("csrf", csrf.as_str())];
        all.extend_from_slice(fields);
        self.post_bare(path, &all)
    }

    /// Sends these fields and no others.
    pub(crate) fn post_bare(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let answer = self.form(path, fields).send(self.address);
        self.keep(answer)
    }

    /// Sends a form and follows where it leads; gives the text of that page.
    #[track_caller]
    pub(crate) fn act(&mut self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.post(path, fields);
        assert_eq!(answer.status, 303, "{path}: {}", page(&answer));
        let to = answer.header("location").unwrap().to_owned();
        self.open(&to)
    }

    /// A form as a browser sends it.
    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)]) -> Request {
        let body = encoded(fields);
        self.request("POST", path)
            .header("Origin", &format!("http://{}", self.address))
            .header("Sec-Fetch-Site", "same-origin")
            .body("application/x-www-form-urlencoded", body.as_bytes())
    }

    fn keep(&mut self, answer: Answer) -> Answer {
        if let Some(line) = answer.header("set-cookie") {
            let pair = line.split(';').next().unwrap();
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        answer
    }
}

/// The text of a page.
pub(crate) fn page(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// The value of the first field of this name.
pub(crate) fn value_of(page: &str, name: &str) -> Option<String> {
    let at = page.find(&format!("name=\"{name}\""))?;
    let tag = &page[at..at + page[at..].find('>')?];
    let value = &tag[tag.find("value=\"")? + 7..];
    Some(value[..value.find('"')?].replace("&quot;", "\"").replace("&amp;", "&"))
}

/// Fields as a form writes them.
pub(crate) fn encoded(fields: &[(&str, &str)]) -> String {
    let escaped = |text: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            if byte.is_ascii_alphanumeric() {
                out.push(char::from(byte));
            } else {
                out += &format!("%{byte:02X}");
            }
            out
        })
    };
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.join("&")
}
