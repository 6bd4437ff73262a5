//! Secrets of each kind, borders of every kind, and that nothing else is touched.

use super::*;
use proptest::prelude::*;

fn redact(text: &str) -> String {
    RedactionSet::built_in().redact_text(text)
}

/// The text fed in these pieces, without time passing.
fn in_pieces(set: &RedactionSet, pieces: &[&[u8]]) -> Vec<u8> {
    let (mut redactor, now, mut out) = (Redactor::new(set.clone()), Instant::now(), Vec::new());
    for piece in pieces {
        redactor.feed(piece, now, &mut out);
        assert!(redactor.held_bytes() <= HOLD_MAX_BYTES);
        assert_eq!(redactor.deadline().is_some(), redactor.held_bytes() > 0);
    }
    redactor.finish(&mut out);
    assert_eq!((redactor.held_bytes(), redactor.deadline()), (0, None));
    out
}

/// Secrets put together at run time, so that no scanner takes this file for a leak.
fn secrets() -> Vec<(&'static str, String)> {
    let a = |n: usize| "aB3dE5fG7h".repeat(n.div_ceil(10))[..n].to_owned();
    vec![
        ("github-token", format!("gh{}{}", "p_", a(36))),
        ("github-token", format!("github_{}{}", "pat_", a(60))),
        ("aws-access-key", format!("AK{}", "IAIOSFODNN7EXAMPLE")),
        ("slack-token", format!("xo{}-{}", "xb", a(30))),
        ("google-api-key", format!("AI{}{}", "za", a(35))),
        ("api-key", format!("s{}-{}", "k", a(40))),
        ("api-key", format!("s{}-ant-api03-{}", "k", a(40))),
        ("npm-token", format!("npm{}{}", "_", a(36))),
        ("pypi-token", format!("pyp{}-Ag{}", "i", a(40))),
        ("gitlab-token", format!("gl{}-{}", "pat", a(20))),
        ("stripe-key", format!("sk_{}_{}", "live", a(24))),
        ("ringfence-token", format!("r{}{}_{}", "f_", "0f".repeat(8), "3e".repeat(32))),
        ("hugging-face-token", format!("h{}{}", "f_", a(34))),
        ("google-client-secret", format!("GOC{}-{}", "SPX", a(28))),
        ("jwt", format!("ey{}.ey{}.{}", format_args!("J{}", a(20)), format_args!("J{}", a(40)), a(43))),
    ]
}

#[test]
fn every_kind_of_token_is_hidden_alone_and_inside_text() {
    for (name, secret) in secrets() {
        assert_eq!(redact(&secret), format!("[redacted:{name}]"));
        assert_eq!(redact(&format!("a {secret} b\n")), format!("a [redacted:{name}] b\n"), "{name}");
        assert_eq!(redact(&format!("[\"{secret}\"]")), format!("[\"[redacted:{name}]\"]"), "{name}");
    }
}

#[test]
fn values_behind_telling_names_are_hidden_and_the_names_stay() {
    for (line, want) in [
        ("password=hunter2", "password=[redacted:secret]"),
        ("DB_PASSWORD=x y", "DB_PASSWORD=[redacted:secret] y"),
        ("passwd: abc", "passwd: [redacted:secret]"),
        (r#"{"password": "a b", "n": 1}"#, r#"{"password": "[redacted:secret]", "n": 1}"#),
        (r#"{\"password\":\"hunter2\"}"#, r#"{\"password\":\"[redacted:secret]\"}"#),
        ("PASSPHRASE => 'a b'", "PASSPHRASE => '[redacted:secret]'"),
        ("client_secret=abcdefgh&x=1", "client_secret=[redacted:secret]&x=1"),
        ("api-key: 0123456789abcdef", "api-key: [redacted:secret]"),
        ("apiKey='k1234567'", "apiKey='[redacted:secret]'"),
        ("ACCESS_TOKEN=0123456789", "ACCESS_TOKEN=[redacted:secret]"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [redacted:secret]",
        ),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted:authorization]"),
        ("-H 'authorization: Basic dXNlcg=='", "-H 'authorization: Basic [redacted:authorization]'"),
        ("bearer abcdefg9", "bearer [redacted:bearer-token]"),
        (
            "git clone https://joe:s3cret@example.com/x",
            "git clone https://joe:[redacted:url-password]@example.com/x",
        ),
        ("postgres://:pw@db:5432/x", "postgres://:[redacted:url-password]@db:5432/x"),
        ("mypwd=letmein", "mypwd=[redacted:secret]"),
        (
            "POST https://hooks.slack.com/services/T0AAAAAAA/B0AAAAAAA/aB3dE5fG7haB3dE5fG7h done",
            "POST https://hooks.slack.com/services/[redacted:slack-hook] done",
        ),
    ] {
        assert_eq!(redact(line), want);
    }
}

#[test]
fn what_only_resembles_a_secret_is_left_alone() {
    for line in [
        "PWD=/srv/work",
        "OLDPWD=/",
        "Enter password: ",
        "password=null password=\"\" token=None secret=$SECRET",
        "passwd=****",
        "error: unexpected token: identifier",
        "total_tokens=123456789 token_type=bearer",
        "task-runner disk-0123456789012345678901234567890",
        "the bearer certificate",
        "see https://example.com:8080/a@b and http://[::1]:80/",
        "npm_config_user_agent=npm/10.2.4 node/v20.11.1 linux x64",
        "key: value monkey=1234567890",
        "-----BEGIN CERTIFICATE-----",
        "AKIA is a prefix, gh_ too",
        "self_test surf_0123456789abcdef half_open risk_level https://hooks.slack.com/help",
        "password=[redacted:secret]",
        "\"token\": \"[redacted:secret]\"",
    ] {
        assert_eq!(redact(line), line);
    }
}

const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEowIBAAKCAQEA3Tz2mr7SZi\nAMfQyuvBjM9Oi==\n-----END RSA PRIVATE KEY-----";

#[test]
fn a_private_key_is_hidden_from_its_first_line_to_its_last() {
    assert_eq!(redact(KEY), "[redacted:private-key]");
    assert_eq!(redact(&format!("a\n{KEY}\nb\n")), "a\n[redacted:private-key]\nb\n");
    assert_eq!(redact(&format!("{KEY}\n{KEY}")), "[redacted:private-key]\n[redacted:private-key]");
    let in_json = format!(r#"{{"private_key": "{}", "b": 1}}"#, KEY.replace('\n', "\\n"));
    assert_eq!(redact(&in_json), r#"{"private_key": "[redacted:private-key]", "b": 1}"#);
    assert_eq!(redact(&KEY.replace('\n', "\r\n")), "[redacted:private-key]");
}

#[test]
fn a_key_that_never_ends_does_not_hide_the_rest() {
    assert_eq!(
        redact("x -----BEGIN PRIVATE KEY-----\nMIIE\nnext line\n"),
        "x [redacted:private-key]\nnext line\n"
    );
    assert_eq!(redact("-----BEGIN PRIVATE KEY-----\nMIIE\n"), "[redacted:private-key]\n");
    let endless = format!("-----BEGIN PRIVATE KEY-----\n{}", "MIIEowIBAAKCAQEA\n".repeat(8_000));
    let shown = redact(&endless);
    assert!(
        shown.len() > endless.len() - KEY_MAX_BYTES - 100
            && shown.len() < endless.len() - KEY_MAX_BYTES + 100
    );
}

#[test]
fn user_patterns_work_with_and_without_the_built_in_ones() {
    let both = RedactionSet::built_in().with_pattern(r"(?i)acme-\d+").unwrap().with_pattern("^x*").unwrap();
    assert_eq!(
        both.redact_text("ACME-1 acme-2\nxxb\npassword=p"),
        "[redacted:custom] [redacted:custom]\n[redacted:custom]b\npassword=[redacted:secret]"
    );
    let own = RedactionSet::none().with_pattern("über").unwrap();
    assert!(!own.is_empty() && !Redactor::new(own.clone()).is_passthrough());
    assert_eq!(own.redact_text("über password=p"), "[redacted:custom] password=p");
    assert!(!format!("{own:?} {:?}", Redactor::new(own.clone())).contains("ber"));
}

#[test]
fn bad_patterns_are_refused_with_the_reason() {
    let refuse = |expression: &str| RedactionSet::built_in().with_pattern(expression).unwrap_err();
    let error = refuse("a(");
    assert_eq!(error.code(), ErrorCode::Usage);
    assert!(error.chain().contains("unclosed group"), "{}", error.chain());
    assert!(refuse(r"(\w{50}){50}{50}").chain().contains("size"));
    assert!(refuse(&"x".repeat(CUSTOM_PATTERN_MAX_BYTES + 1)).message().contains("4096"));
    let mut set = RedactionSet::none();
    for _ in 0..CUSTOM_PATTERNS_MAX {
        set = set.with_pattern("x").unwrap();
    }
    assert!(set.with_pattern("x").unwrap_err().message().contains("64"));
}

#[test]
fn nothing_hidden_means_nothing_changed_or_held() {
    let (mut redactor, mut out) = (Redactor::new(RedactionSet::none()), Vec::new());
    redactor.feed(b"password=hun", Instant::now(), &mut out);
    assert!(redactor.is_passthrough() && redactor.deadline().is_none());
    assert_eq!(out, b"password=hun");
    assert_eq!(RedactionSet::none().redact_text("a\nb"), "a\nb");
}

#[test]
fn a_complete_line_is_released_at_once_and_an_incomplete_one_after_the_hold() {
    let (mut redactor, start, mut out) = (Redactor::new(RedactionSet::default()), Instant::now(), Vec::new());
    redactor.feed(b"one\ntwo", start, &mut out);
    assert_eq!(out, b"one\n");
    assert_eq!(redactor.deadline(), Some(start + HOLD_MAX));
    redactor.feed(b"!", start + HOLD_MAX / 2, &mut out);
    assert_eq!(redactor.deadline(), Some(start + HOLD_MAX), "the oldest byte counts");
    redactor.tick(start + HOLD_MAX - Duration::from_nanos(1), &mut out);
    assert_eq!(out, b"one\n");
    redactor.tick(start + HOLD_MAX, &mut out);
    assert_eq!((&out[..], redactor.deadline()), (&b"one\ntwo!"[..], None));
    redactor.feed(b"\nthree", start + HOLD_MAX, &mut out);
    assert_eq!(redactor.deadline(), Some(start + HOLD_MAX * 2), "a new line has its own time");
}

/// Feeds the pieces with the hold time passing after each.
fn slowly(pieces: &[&str]) -> String {
    let (mut redactor, mut now, mut out) =
        (Redactor::new(RedactionSet::built_in()), Instant::now(), Vec::new());
    for piece in pieces {
        redactor.feed(piece.as_bytes(), now, &mut out);
        now += HOLD_MAX;
        redactor.tick(now, &mut out);
        assert_eq!(redactor.held_bytes(), 0);
    }
    redactor.finish(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_secret_that_comes_slowly_is_hidden_from_where_it_can_be_known() {
    assert_eq!(slowly(&["password=", "hunter2", " ok\n"]), "password=[redacted:secret] ok\n");
    assert_eq!(slowly(&["password=hun", "ter", "2 ok", "\nnext\n"]), "password=[redacted:secret] ok\nnext\n");
    let (_, token) = secrets().remove(0);
    let shown = slowly(&[&token[..8], &token[8..], " ok\n"]);
    assert_eq!(shown, format!("{}[redacted:github-token] ok\n", &token[..8]));
    assert_eq!(
        slowly(&[&format!("{token}\n"), &token, "X", "\n"]),
        "[redacted:github-token]\n[redacted:github-token]\n"
    );
    let lines: Vec<_> = KEY.split_inclusive('\n').collect();
    assert_eq!(slowly(&lines), "[redacted:private-key]");
    let (a, b) = KEY.split_at(70);
    let (c, d) = b.split_at(b.len() - 20);
    assert_eq!(slowly(&[a, c, d, "\nafter\n"]), "[redacted:private-key]\nafter\n");
}

#[test]
fn a_secret_longer_than_the_window_is_hidden_to_its_end() {
    let set = RedactionSet::built_in();
    let long = format!("x eyJ{}.{}.sig", "a1".repeat(20), "b2".repeat(3_000));
    for size in [1, 7, 100, 1024, 5_000] {
        let text = format!("{long} after\nnext\n");
        let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
        let out = String::from_utf8(in_pieces(&set, &pieces)).unwrap();
        assert!(out == "x [redacted:jwt] after\nnext\n", "pieces of {size}: {} bytes", out.len());
    }
    let pieces: Vec<String> = (0..40).map(|_| "password=".to_owned() + &"p".repeat(90)).collect();
    let whole = pieces.concat();
    let parts: Vec<_> = whole.as_bytes().chunks(333).collect();
    assert_eq!(in_pieces(&set, &parts), b"password=[redacted:secret]");
    let own = RedactionSet::none().with_pattern("BEGIN.*").unwrap();
    let line = format!("a BEGIN{}\nb", " secret".repeat(1_000));
    let parts: Vec<_> = line.as_bytes().chunks(500).collect();
    assert_eq!(in_pieces(&own, &parts), b"a [redacted:custom]\nb");
}

#[test]
fn a_long_line_flows_while_at_most_the_window_is_held() {
    let (mut redactor, now, mut out) = (Redactor::new(RedactionSet::built_in()), Instant::now(), Vec::new());
    let mut fed = 0;
    for _ in 0..1_000 {
        redactor.feed(&[b'.'; 100], now, &mut out);
        fed += 100;
        assert_eq!(out.len() + redactor.held_bytes(), fed);
        assert!(redactor.held_bytes() <= HOLD_MAX_BYTES && redactor.line.len() <= 2 * HOLD_MAX_BYTES);
    }
}

/// A generator of lines in which secrets, their beginnings and plain bytes follow each other.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let secret = proptest::sample::select(secrets()).prop_map(|(_, secret)| secret.into_bytes());
    let word = proptest::sample::select(vec![
        "password=",
        "token: ",
        "\"api_key\": \"",
        "Authorization: ",
        "Bearer ",
        "https://u:",
        "@h/",
        "\"",
        " ",
        "-",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "eyJ",
        "sk-",
        "\r",
        "é",
        "MIIEowIBAAKCAQEA",
        "\n",
    ]);
    prop_oneof![
        3 => word.prop_map(|word| word.as_bytes().to_vec()),
        2 => secret,
        2 => proptest::collection::vec(any::<u8>(), 0..12),
        2 => "[a-zA-Z0-9=_.-]{1,20}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_split_gives_what_whole_lines_give(
        parts in proptest::collection::vec(fragments(), 0..24),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        own in any::<bool>(),
    ) {
        let text: Vec<u8> = parts.concat();
        prop_assume!(text.split(|&b| b == b'\n').all(|line| line.len() < HOLD_MAX_BYTES));
        let mut set = RedactionSet::built_in();
        if own {
            set = set.with_pattern("a[^b]*b|(?-u)\\xff.").unwrap();
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.push(0);
        cuts.push(text.len());
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(in_pieces(&set, &pieces), in_pieces(&set, &[&text]));
    }

    #[test]
    fn the_prefilter_never_loses_what_a_pattern_would_find(parts in proptest::collection::vec(fragments(), 0..16)) {
        let line: Vec<u8> = parts.concat().into_iter().filter(|&byte| byte != b'\n').collect();
        let all = pattern::spans(&line, pattern::ALL, &[]);
        prop_assert_eq!(RedactionSet::built_in().spans(&line), all.clone());
        prop_assert!(all.is_empty() || prefilter::find(&line).is_some());
    }

    #[test]
    fn bytes_without_a_secret_pass_unharmed(text in proptest::collection::vec(any::<u8>(), 0..5_000), size in 1_usize..700) {
        let set = RedactionSet::built_in();
        prop_assume!(prefilter::find(&text).is_none());
        let pieces: Vec<_> = text.chunks(size).collect();
        prop_assert_eq!(in_pieces(&set, &pieces), text);
    }

    #[test]
    fn no_order_of_time_and_pieces_shows_a_password(gaps in proptest::collection::vec((1_usize..9, any::<bool>()), 1..40)) {
        let text = b"a password=Q1W2E3R4T5 b\nhttps://u:Q1W2E3@h/ c\n";
        let (mut redactor, mut now, mut out) = (Redactor::new(RedactionSet::built_in()), Instant::now(), Vec::new());
        let mut rest = &text[..];
        for (size, pause) in gaps {
            let (piece, others) = rest.split_at(size.min(rest.len()));
            redactor.feed(piece, now, &mut out);
            rest = others;
            // The address is known for one only at its '@': before, time must not pass.
            if pause && !out.ends_with(b"\n") && text.len() - rest.len() < 24 {
                now += HOLD_MAX;
                redactor.tick(now, &mut out);
            }
        }
        redactor.feed(rest, now, &mut out);
        redactor.finish(&mut out);
        prop_assert_eq!(
            String::from_utf8(out).unwrap(),
            "a password=[redacted:secret] b\nhttps://u:[redacted:url-password]@h/ c\n"
        );
    }
}
