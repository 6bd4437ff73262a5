//! WEB-01: what strangers write is text on every page. Nothing of it runs, and nothing of it moves or hides other text.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::scene::Scene;

/// How many strings there are.
const STRINGS: usize = 500;
/// Tools of one plugin.
const TOOLS: usize = 50;

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

fn strings() -> Vec<String> {
    let mut all = Vec::new();
    for (before, behind) in AROUND {
        for payload in PAYLOADS {
            let number = all.len();
            all.push(format!(
                "{before}{}{behind}",
                payload.replace('%', &format!("window.ran.push({number})"))
            ));
        }
    }
    assert_eq!(all.len(), STRINGS);
    all
}

/// What no page may show, in its text and in its attributes.
const FOUND: &str = r"(() => {
    const bad = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\u{e0000}|[\u{e0001}-\u{e007f}]/u;
    const found = [];
    const look = (text, where) => { const hit = bad.exec(text); if (hit) found.push(`${where}: ${escape(hit[0])} in ${escape(text.slice(Math.max(0, hit.index - 20), hit.index + 20))}`); };
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT | NodeFilter.SHOW_COMMENT);
    for (let node = walker.currentNode; node; node = walker.nextNode()) {
        if (node.nodeType === 1) for (const one of node.attributes) look(one.value, `${node.tagName} ${one.name}`);
        else look(node.data, 'text');
    }
    const ours = [...document.scripts].every((one) => one.src.startsWith(`${location.origin}/dashboard/static/`));
    if (!ours) found.push('a script of somebody else');
    for (const tag of ['iframe', 'img', 'style', 'base', 'object', 'math', 'meta[http-equiv]']) if (document.querySelector(tag)) found.push(`<${tag}>`);
    return found.slice(0, 5);
})()";

/// A line of Python that holds this text as bytes.
fn python(strings: &[String]) -> String {
    let mut code = String::from("STRINGS = [");
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

/// The text without what a manifest may not have, which is refused when it is installed.
fn declared(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !ringfence_api::text::is_hidden(*c)).take(300).collect()
}

fn install(scene: &Scene, strings: &[String]) {
    for (index, texts) in strings.chunks(TOOLS).enumerate() {
        let tools: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| json!({"name": format!("tool{number}"), "description": declared(text)}))
            .collect();
        let properties: serde_json::Map<String, Value> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| {
                let text = declared(text);
                (
                    format!("p{number}"),
                    json!({"type": "string", "title": text, "description": text, "default": text}),
                )
            })
            .collect();
        let first = declared(&texts[index % texts.len()]);
        let manifest = json!({
            "description": first, "author": first, "license": declared(&texts[1]),
            "permissions": [{"permission": "env:read", "scope": ["LANG"], "reason": first}],
            "hooks": [{"event": "onRequest", "kind": "guard"}],
            "tools": tools,
            "config_schema": {"type": "object", "properties": properties}
        });
        let code = python(texts)
            + "import sys\nfor text in STRINGS:\n    sys.stderr.write(text + '\\n')\n\n\
               def onRequest(ctx):\n    return {'blocked': True, 'reason': STRINGS[3] + STRINGS[44]}\n\n"
            + &(0..texts.len())
                .map(|number| format!("def tool{number}(a):\n    raise ValueError(STRINGS[{number}])\n\n"))
                .collect::<String>();
        let name = format!("hostile{index}");
        scene.active(&name, &manifest, &code);
        for tool in ["tool0", "tool7"] {
            scene.world.run(&["call", &name, tool]);
        }
    }
    scene.over_socket("POST", "/hooks/onRequest", &json!({"body": {}}));
}

#[test]
fn web_01_five_hundred_hostile_strings_in_every_field_run_nothing_and_hide_nothing() {
    let Some(scene) = Scene::new() else { return };
    let all = strings();
    install(&scene, &all);
    // As words of commands, as what they write, and as what they are refused.
    for texts in all.chunks(100) {
        let texts: Vec<String> = texts.iter().map(|text| text.replace('\0', "")).collect();
        let mut words = vec!["/usr/bin/printf", "%s\n"];
        words.extend(texts.iter().map(String::as_str));
        scene.run(&words);
    }
    scene.run(&["/bin/cat", "/<img src=x onerror=window.ran.push(1)>\u{202e}"]);
    scene.sign_in();
    let chromium = &scene.chromium;
    let mut paths = crate::walk::walked(&scene);
    let plugins = all.len() / TOOLS;
    for index in 0..plugins {
        scene.open(&format!("/dashboard/plugins/hostile{index}"));
        let tabs = chromium
            .eval("[...document.querySelectorAll('.tabs a')].map((one) => new URL(one.href).pathname)");
        paths.extend(tabs.as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned));
    }
    let runs = all.len() / 100;
    paths.extend((1..=runs + 1).map(|id| format!("/dashboard/runs/{id}")));
    // What a stranger puts into an address comes back in a field.
    for text in [&all[3], &all[4 * 20 + 12], &all[20 + 3]] {
        let text = chromium.eval(&format!("encodeURIComponent({})", json!(text.replace('\0', ""))));
        let text = text.as_str().unwrap();
        for path in [
            "?q=",
            "/activity?q=",
            "/activity?request=",
            "/audit?plugin=",
            "/audit?since=",
            "/plugins/hostile0/logs?q=",
            "/login?then=",
        ] {
            paths.push(format!("/dashboard{path}{text}"));
        }
    }
    paths.sort();
    paths.dedup();
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for path in &paths {
        scene.open(path);
        // Whatever waits for a moment of rest has had one.
        chromium.eval("new Promise((done) => setTimeout(done, 20))");
        let (ran, found) = (chromium.ran(), chromium.eval(FOUND));
        if ran != json!([]) || found != json!([]) {
            wrong.push(format!("{path}: {ran} {found}"));
        }
        let text = chromium.eval("document.body.textContent");
        let text = text.as_str().unwrap();
        seen.extend((0..all.len()).filter(|number| text.contains(&format!("window.ran.push({number})"))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The twin: they were all there to be seen.
    let missed: Vec<&String> = all
        .iter()
        .enumerate()
        .filter(|(n, text)| text.contains("ran.push") && !seen.contains(n))
        .map(|(_, text)| text)
        .collect();
    assert!(missed.is_empty(), "{} were shown nowhere: {missed:?}", missed.len());
}
