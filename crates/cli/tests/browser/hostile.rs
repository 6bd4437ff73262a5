//! WEB-01: what strangers write is text on every page. Nothing of it runs, and nothing of it moves or hides other text.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::scene::Scene;

/// How many strings there are.
const STRINGS: usize = 500;
/// Tools of one plugin.
const TOOLS: usize = 50;
/// Letters of an author that are shown for certain: what a host escapes takes more.
const SHOWN_WHOLE: usize = 190;

/// What runs where a page is not careful; `%` is the canary.
const PAYLOADS: [&str; 20] = [
    "<script>%</script>",
    "<img src=x onerror=%>",
    "<svg/onload=%>",
    "\"><script>%</script>",
    "'><img src=x onerror='%'>",
    "</td></tr></table><script>%</script>",
    "</title><script>%</script>",
    "</textarea><script>%</script>",
    "<!--><script>%</script>-->",
    "<iframe srcdoc=\"<script>parent.%</script>\"></iframe>",
    "javascript:%",
    "<a href=\"javascript:%\" autofocus onfocus=%>x</a>",
    "\" autofocus onfocus=% x=\"",
    "<details open ontoggle=%>",
    "<base href=//127.0.0.1:1/><link rel=stylesheet href=x>",
    "<style>@import url(//127.0.0.1:1/x);*{display:none}</style>",
    "<meta http-equiv=refresh content=\"0;url=//127.0.0.1:1\">",
    "{{constructor.constructor('%')()}} ${%} <%= % %>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=%>",
    "data:\n\nevent: plugin\ndata: <script>%</script>\n\n",
];
/// What stands around it: nothing, controls of a terminal, of direction, and of lines.
const AROUND: [(&str, &str); 25] = [
    ("", ""),
    ("\u{202e}", "\u{202c}"),
    ("\u{2066}", "\u{2069}"),
    ("\u{200b}", "\u{feff}"),
    ("\u{1b}[31m", "\u{1b}[0m"),
    ("\u{1b}]0;", "\u{7}"),
    ("\u{1b}]52;c;", "\u{1b}\\"),
    ("\u{1b}]8;;http://127.0.0.1:1\u{7}", "\u{1b}]8;;\u{7}"),
    ("\r", "\r\n"),
    ("\u{2028}", "\u{2029}"),
    ("\u{9b}31m", "\u{85}"),
    ("\u{8}\u{8}\u{8}", "\u{7f}"),
    ("&lt;", "&#x3c;script&#x3e;"),
    ("%3Cscript%3E", "\\u003cscript\\u003e"),
    ("=1+cmd|", "!A0"),
    ("]]>", "<![CDATA["),
    ("\u{e0041}", "\u{e007f}"),
    ("\u{ad}", "\u{34f}"),
    ("\u{61c}", "\u{180e}"),
    ("\u{fff9}", "\u{fffb}"),
    ("\u{1b}[?2004l", "\u{1b}[200~"),
    ("../../", "/etc/passwd"),
    ("'; DROP TABLE audit; --", "\\"),
    ("\u{d83}\u{fffd}", "\u{10ffff}"),
    ("`$(id)`", "\u{0}"),
];

/// Where strings are put. The numbers in those of one field are in the thousand of that field, so that a page tells which of them
/// it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Description,
    Author,
    License,
    Reason,
    ToolDescription,
    ConfigTitle,
    ConfigDescription,
    ConfigDefault,
    ConfigValue,
    ToolError,
    LogLine,
    DenialObject,
    /// A name of letters, which none of them is: each is refused, and nobody hears it.
    Topic,
    Words,
    Output,
    RunDenialObject,
    GuardReason,
    Progress,
}

impl Field {
    /// Those in which all of them must be seen.
    const ALL: [Self; 17] = [
        Self::Description,
        Self::Author,
        Self::License,
        Self::Reason,
        Self::ToolDescription,
        Self::ConfigTitle,
        Self::ConfigDescription,
        Self::ConfigDefault,
        Self::ConfigValue,
        Self::ToolError,
        Self::LogLine,
        Self::DenialObject,
        Self::Words,
        Self::Output,
        Self::RunDenialObject,
        Self::GuardReason,
        Self::Progress,
    ];

    const fn first(self) -> usize {
        self as usize * 1_000
    }

    /// The strings of this field.
    fn strings(self) -> Vec<String> {
        let mut all = Vec::new();
        for (before, behind) in AROUND {
            for payload in PAYLOADS {
                let number = self.first() + all.len();
                all.push(format!(
                    "{before}{}{behind}",
                    payload.replace('%', &format!("window.ran.push({number})"))
                ));
            }
        }
        assert_eq!(all.len(), STRINGS);
        all
    }

    /// The same without what a manifest may not have, which is refused when it is installed.
    fn declared(self) -> Vec<String> {
        self.strings().iter().map(|text| declared(text)).collect()
    }

    /// Whether the string of this index is put there. Three fields stand once in a manifest, so that three or four strings take a plugin
    /// and a page: of these a quarter is taken, with everything that runs and everything around it, and all with
    /// `RINGFENCE_STRINGS=all`, which takes minutes.
    fn has(self, index: usize) -> bool {
        let is_whole = || std::env::var_os("RINGFENCE_STRINGS").is_some_and(|wish| wish == "all");
        let stands_once = matches!(self, Self::Description | Self::Author | Self::License);
        (index / PAYLOADS.len() + index % PAYLOADS.len()).is_multiple_of(4) || !stands_once || is_whole()
    }
}

/// What no page may show, in its text and in its attributes.
const FOUND: &str = r"(() => {
    const bad = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\u{e0000}|[\u{e0001}-\u{e007f}]/u;
    const found = [];
    const look = (text, where) => { const hit = bad.exec(text); if (hit) found.push(`${where}: ${escape(hit[0])} in ${escape(text.slice(Math.max(0, hit.index - 20), hit.index + 20))}`); };
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT | NodeFilter.SHOW_COMMENT);
    for (let node = walker.currentNode; node; node = walker.nextNode()) {
        // What a form carries back unseen is what it is about, to the letter.
        if (node.nodeType === 1 && node.type === 'hidden') continue;
        if (node.nodeType === 1) for (const one of node.attributes) look(one.value, `${node.tagName} ${one.name}`);
        else look(node.data, 'text');
    }
    const ours = [...document.scripts].every((one) => one.src.startsWith(`${location.origin}/dashboard/static/`));
    if (!ours) found.push('a script of somebody else');
    for (const tag of ['iframe', 'img', 'style', 'base', 'object', 'math', 'meta[http-equiv]']) if (document.querySelector(tag)) found.push(`<${tag}>`);
    return found.slice(0, 5);
})()";

/// The numbers that the page shows: in its text, in its attributes, and in what is filled in.
const SHOWN: &str = r"(() => {
    const all = [document.body.textContent];
    for (const one of document.querySelectorAll('body *')) for (const named of one.attributes) all.push(named.value);
    for (const one of document.querySelectorAll('input, textarea')) all.push(one.value);
    return [...new Set([...all.join('\n').matchAll(/ran\.push\((\d+)\)/g)].map((hit) => Number(hit[1])))];
})()";

/// A line of Python that holds these texts as bytes.
fn python(name: &str, strings: &[String]) -> String {
    let mut code = format!("{name} = [");
    for text in strings {
        write!(code, "bytes.fromhex('").unwrap();
        for byte in text.bytes() {
            write!(code, "{byte:02x}").unwrap();
        }
        code.push_str("').decode(), ");
    }
    code.push_str("]\n");
    code
}

/// The text without what a manifest may not have.
fn declared(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !ringfence_api::text::is_hidden(*c)).take(300).collect()
}

/// Plugins whose tools, log, refusals and configuration are full of it: a part of all strings in each.
fn install_few(scene: &Scene) {
    let parts = |field: Field| -> Vec<Vec<String>> {
        field.strings().chunks(TOOLS).map(<[String]>::to_vec).collect()
    };
    let said = |field: Field| -> Vec<Vec<String>> {
        field.declared().chunks(TOOLS).map(<[String]>::to_vec).collect()
    };
    let (reasons, tools) = (said(Field::Reason), said(Field::ToolDescription));
    let (titles, texts, defaults) =
        (said(Field::ConfigTitle), said(Field::ConfigDescription), said(Field::ConfigDefault));
    let (values, errors, lines) = (parts(Field::ConfigValue), parts(Field::ToolError), parts(Field::LogLine));
    let (objects, progress, topics) =
        (parts(Field::DenialObject), parts(Field::Progress), parts(Field::Topic));
    for index in 0..STRINGS / TOOLS {
        let each = |make: &dyn Fn(usize) -> Value| -> Vec<Value> { (0..TOOLS).map(make).collect() };
        let properties: serde_json::Map<String, Value> = (0..TOOLS)
            .flat_map(|n| {
                let told = json!({"type": "string", "title": titles[index][n], "description": texts[index][n], "default": defaults[index][n]});
                [(format!("p{n}"), told), (format!("v{n}"), json!({"type": "string"}))]
            })
            .collect();
        let manifest = json!({
            "permissions": each(&|n| json!({"permission": "env:read", "scope": [format!("V{n}")], "reason": reasons[index][n]})),
            "tools": each(&|n| json!({"name": format!("tool{n}"), "description": tools[index][n]})),
            "config_schema": {"type": "object", "properties": properties}
        });
        let code = python("LINES", &lines[index])
            + &python("ERRORS", &errors[index])
            // No path has a NUL, and asking for one is a mistake and no denial.
            + &python("OBJECTS", &objects[index].iter().map(|text| text.replace('\0', "")).collect::<Vec<_>>())
            + &python("PROGRESS", &progress[index])
            + &python("TOPICS", &topics[index])
            + "import sys\nfrom ringfence import host\nfor text in LINES:\n    sys.stderr.write(text + '\\n')\n\n\
               def refused(number):\n    host.progress(1, 2, PROGRESS[number])\n    \
               for act in (lambda: host.read_file('/srv/' + OBJECTS[number]), lambda: host.post_event(TOPICS[number])):\n        \
               try:\n            act()\n        except Exception:\n            pass\n    raise ValueError(ERRORS[number])\n\n"
            + &(0..TOOLS).map(|n| format!("def tool{n}(a):\n    refused({n})\n\n")).collect::<String>();
        let name = format!("hostile{index}");
        scene.active(&name, &manifest, &code);
        let config: serde_json::Map<String, Value> =
            values[index].iter().enumerate().map(|(n, text)| (format!("v{n}"), json!(text))).collect();
        let set = scene.over_socket("PUT", &format!("/plugins/{name}/config"), &Value::Object(config));
        assert!(set["v0"].is_string(), "{set}");
    }
}

/// Plugins for what stands in a manifest once: as many strings in each field as are shown of it. How many plugins there are.
fn install_many(scene: &Scene) -> usize {
    let [descriptions, authors, licenses] =
        [Field::Description, Field::Author, Field::License].map(|field| {
            let all = field.declared().into_iter().enumerate();
            joined(&all.filter(|(index, _)| field.has(*index)).map(|(_, text)| text).collect::<Vec<_>>())
        });
    let count = descriptions.len().max(authors.len()).max(licenses.len());
    for number in 0..count {
        let [description, author, license] = [&descriptions, &authors, &licenses]
            .map(|texts| texts.get(number).map_or("none", String::as_str));
        let manifest = json!({
            "description": description, "author": author, "license": license, "tools": [{"name": "hi"}]
        });
        let package = scene.package(&format!("one{number}"), &manifest, "def hi(a):\n    return 1\n");
        let installed = scene.over_socket("POST", "/plugins", &json!({"path": package}));
        assert_eq!(installed["changed"], true, "{installed}");
    }
    count
}

/// The texts one behind the other, in as few as are shown whole.
fn joined(texts: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for text in texts {
        match all.last_mut() {
            Some(last) if last.chars().count() + text.chars().count() < SHOWN_WHOLE => {
                last.push(' ');
                last.push_str(text);
            }
            _ => all.push(text.clone()),
        }
    }
    all
}

/// A guard that blocks with each of them, and a plugin that hears messages on every topic.
fn install_others(scene: &Scene) {
    let guard = python("STRINGS", &Field::GuardReason.strings())
        + "def onRequest(ctx):\n    return {'blocked': True, 'reason': STRINGS[ctx['body']['n']]}\n";
    scene.active("guard", &json!({"hooks": [{"event": "onRequest", "kind": "guard"}]}), &guard);
    let hears = json!({"permissions": ["event:post"], "tools": [{"name": "hi"}]});
    scene.active(
        "hears",
        &hears,
        "def handle_event(topic, payload):\n    pass\n\ndef hi(a):\n    return 1\n",
    );
}

/// Commands with such words, such output, and such names of files that they are not shown.
fn run_commands(scene: &Scene) -> Vec<u64> {
    let mut ids = Vec::new();
    let plain =
        |texts: &[String]| -> Vec<String> { texts.iter().map(|text| text.replace('\0', "")).collect() };
    // No more in one than a page shows of a command.
    for texts in Field::Words.strings().chunks(PAYLOADS.len()) {
        let words = plain(texts);
        let words: Vec<&str> = std::iter::once("/bin/true").chain(words.iter().map(String::as_str)).collect();
        ids.push(scene.run(&words));
    }
    for part in 0..STRINGS / 100 {
        let output = scene.world.path(&format!("data/output-{part}"));
        std::fs::write(&output, plain(&Field::Output.strings()[part * 100..][..100]).join("\n")).unwrap();
        let hidden = scene.world.path(&format!("data/hidden-{part}"));
        std::fs::create_dir(&hidden).unwrap();
        let names: Vec<String> = plain(&Field::RunDenialObject.strings()[part * 100..][..100])
            .iter()
            .map(|text| hidden.join(text.replace('/', "\u{2215}")).to_str().unwrap().to_owned())
            .collect();
        names.iter().for_each(|name| std::fs::write(name, "").unwrap());
        let mut words = vec!["/bin/cat".to_owned(), output.to_str().unwrap().to_owned()];
        words.extend(names);
        let body = json!({"command": words, "read": [output], "explain": true, "wait": true});
        let ran = scene.over_socket("POST", "/exec", &body);
        ids.push(ran["id"].as_u64().unwrap_or_else(|| panic!("{ran}")));
    }
    ids
}

/// What is seen of them.
struct Look<'a> {
    scene: &'a Scene,
    seen: std::collections::BTreeSet<usize>,
    wrong: Vec<String>,
}

impl Look<'_> {
    /// The page that is open.
    fn at(&mut self, what: &str) {
        let chromium = &self.scene.chromium;
        // Whatever waits for a moment of rest has had one.
        chromium.eval("new Promise((done) => setTimeout(done, 20))");
        let (ran, found) = (chromium.ran(), chromium.eval(FOUND));
        if ran != json!([]) || found != json!([]) {
            self.wrong.push(format!("{what}: {ran} {found}"));
        }
        self.note(&chromium.eval(SHOWN));
    }

    fn note(&mut self, numbers: &Value) {
        let numbers = numbers.as_array().unwrap_or_else(|| panic!("{numbers}"));
        self.seen.extend(numbers.iter().filter_map(|number| usize::try_from(number.as_u64()?).ok()));
    }

    fn open(&mut self, path: &str) {
        self.scene.open(path);
        self.at(path);
    }

    /// A list from its beginning to its end.
    fn all_of(&mut self, path: &str) {
        let mut next = path.to_owned();
        for _ in 0..60 {
            self.open(&next);
            let link = "(() => { const next = document.querySelector('.pager a[rel=next]'); return next && next.pathname + next.search; })()";
            match self.scene.chromium.eval(link) {
                Value::String(address) => next = address,
                _ => return,
            }
        }
        panic!("{path} has no end");
    }

    /// What happens while a page follows it comes by its stream.
    fn follow(&mut self) {
        let (scene, chromium) = (self.scene, &self.scene.chromium);
        scene.open("/dashboard/activity");
        chromium.eval(
            "window.heard = new Set(); window.more = new EventSource('/dashboard/stream');\
             window.more.addEventListener('plugin', (event) => { for (const hit of event.data.matchAll(/ran\\.push\\((\\d+)\\)/g)) window.heard.add(Number(hit[1])); });\
             new Promise((done) => window.more.addEventListener('open', () => done(true)))",
        );
        let heard = |field: Field| {
            let within = format!("number >= {0} && number < {0} + 1000", field.first());
            format!("[...window.heard].filter((number) => {within})")
        };
        // Some payloads have no number.
        let has_number = |text: &&String| text.contains("ran.push(");
        let (guards, progress) = (Field::GuardReason.strings(), Field::Progress.strings());
        for number in 0..STRINGS {
            scene.over_socket("POST", "/hooks/onRequest", &json!({"body": {"n": number}}));
            let (plugin, tool) = (format!("hostile{}", number / TOOLS), format!("tool{}", number % TOOLS));
            scene.over_socket("POST", &format!("/plugins/{plugin}/call"), &json!({"tool": tool}));
            // A stream tells a listener that does not keep up how much it has missed, and no more.
            if (number + 1).is_multiple_of(TOOLS) {
                for (field, strings) in [(Field::GuardReason, &guards), (Field::Progress, &progress)] {
                    let count = strings[..=number].iter().filter(has_number).count();
                    chromium.until(&format!("{}.length === {count}", heard(field)));
                }
            }
        }
        for text in Field::Topic.strings().iter().filter(has_number) {
            let posted = scene.over_socket("POST", "/events", &json!({"topic": text, "wait": true}));
            assert_eq!(posted["error"]["code"], "usage", "{text:?}: {posted}");
        }
        for field in [Field::GuardReason, Field::Progress] {
            self.note(&chromium.eval(&heard(field)));
        }
        self.at("what happens while it is looked at");
        chromium.eval("window.more.close()");
    }
}

#[test]
fn web_01_five_hundred_hostile_strings_in_every_field_run_nothing_and_hide_nothing() {
    let Some(scene) = Scene::new() else { return };
    install_few(&scene);
    let plugins = install_many(&scene);
    install_others(&scene);
    let runs = run_commands(&scene);
    scene.sign_in();
    let mut look = Look { scene: &scene, seen: std::collections::BTreeSet::new(), wrong: Vec::new() };
    look.follow();
    for path in crate::walk::walked(&scene) {
        look.open(&path);
    }
    for index in 0..STRINGS / TOOLS {
        let plugin = format!("/dashboard/plugins/hostile{index}");
        for tab in
            ["", "/grants", "/config", "/config?as=json", "/resources", "/denials", "/activity", "/upgrade"]
        {
            look.open(&format!("{plugin}{tab}"));
        }
        look.all_of(&format!("{plugin}/logs"));
    }
    for number in 0..plugins {
        look.open(&format!("/dashboard/plugins/one{number}"));
    }
    for path in ["/dashboard?q=one", "/dashboard/activity", "/dashboard/audit?event=denial"] {
        look.all_of(path);
    }
    for id in runs {
        look.open(&format!("/dashboard/runs/{id}"));
    }
    assert!(look.wrong.is_empty(), "{}", look.wrong.join("\n"));
    // The twin: each was there to be seen, in each field that it was put in.
    for field in Field::ALL {
        let put = field.strings();
        let missed: Vec<&String> = put
            .iter()
            .enumerate()
            .filter(|(number, text)| {
                text.contains("ran.push(")
                    && field.has(*number)
                    && !look.seen.contains(&(field.first() + number))
            })
            .map(|(_, text)| text)
            .collect();
        assert!(missed.is_empty(), "{field:?}: {} were shown nowhere: {missed:?}", missed.len());
    }
}

#[test]
fn web_01_what_somebody_types_comes_back_as_text() {
    let Some(scene) = Scene::new() else { return };
    scene.furnish();
    scene.sign_in();
    let mut look = Look { scene: &scene, seen: std::collections::BTreeSet::new(), wrong: Vec::new() };
    let all: Vec<String> = Field::Description.strings().iter().map(|text| text.replace('\0', "")).collect();
    let some = [&all[3], &all[20 + 3], &all[4 * 20 + 12], &all[5 * 20 + 7], &all[9 * 20 + 19]];
    for text in some {
        let encoded = scene.chromium.eval(&format!("encodeURIComponent({})", json!(text)));
        let encoded = encoded.as_str().unwrap();
        for path in [
            "?q=",
            "/activity?q=",
            "/activity?request=",
            "/audit?plugin=",
            "/audit?since=",
            "/plugins/keeper/logs?q=",
            "/login?then=",
        ] {
            look.open(&format!("/dashboard{path}{encoded}"));
        }
        for sent in &crate::returned::ALL {
            sent.send(&scene, text);
            look.at(sent.path);
        }
    }
    assert!(look.wrong.is_empty(), "{}", look.wrong.join("\n"));
    let numbers = [3, 23, 92, 107, 199];
    assert!(numbers.iter().all(|number| look.seen.contains(number)), "the twin: {:?}", look.seen);
}
