//! What is JSON and what is not, by class, inside an envelope: accepted, refused, and what RFC 8259 leaves open.

use ringfence_api::Wire;

use crate::rpc::codec::{Message, parse};
use crate::rpc::fault::FaultKind;

/// The value as the result of an answer.
fn accepts(value: &[u8]) -> Result<(), FaultKind> {
    let line = [&b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":"[..], value, b"}"].concat();
    match parse(&line, Wire::JsonRpc) {
        Ok(Message::Answer(answer)) => {
            let kept = answer.outcome.expect("a result").get();
            // Blanks around it are not part of it.
            assert_eq!(kept.as_bytes(), value.trim_ascii());
            Ok(())
        }
        Ok(other) => panic!("{other:?}"),
        Err(bad) => Err(bad.kind),
    }
}

const VALID: &[&str] = &[
    // Literals and blanks.
    "null",
    "true",
    "false",
    " null",
    "null ",
    "\tnull",
    "null\r",
    " \t null \t ",
    // Numbers.
    "0",
    "-0",
    "1",
    "-1",
    "10",
    "123",
    "0.5",
    "-0.5",
    "0.0",
    "1.000",
    "1e1",
    "1E1",
    "1e+1",
    "1e-1",
    "1E-01",
    "0e0",
    "0e+1",
    "123.456e78",
    "-1.5E-10",
    "9007199254740993",
    "123456789012345678901234567890",
    "1.00000000000000000000000000001",
    // Texts.
    "\"\"",
    "\" \"",
    "\"a\"",
    "\"\\\"\"",
    "\"\\\\\"",
    "\"\\/\"",
    "\"\\b\\f\\n\\r\\t\"",
    "\"\\u0000\"",
    "\"\\u0041\"",
    "\"\\uFFFF\"",
    "\"\\ud7ff\"",
    "\"\\ue000\"",
    "\"\\ud83d\\ude00\"",
    "\"\\uD83D\\uDE00\"",
    "\"\\\\ud800\"",
    "\"\\u2028\"",
    "\"/\"",
    "\"'\"",
    "\"é\"",
    "\"€\"",
    "\"😀\"",
    "\"\u{7f}\"",
    "\"\u{80}\"",
    "\"\u{2028}\"",
    "\"\u{feff}\"",
    "\"\u{ffff}\"",
    "\"\u{10ffff}\"",
    "\"[{\\\"\"",
    "\"//\"",
    "\"\\u005C\"",
    "\"\\u0022\"",
    // Arrays.
    "[]",
    "[ ]",
    "[null]",
    "[1,2]",
    "[ 1 , 2 ]",
    "[[]]",
    "[[],[[]]]",
    "[\"\"]",
    "[{}]",
    "[1,\"a\",null,true,{},[]]",
    "[false]",
    // Objects.
    "{}",
    "{ }",
    "{\"a\":1}",
    "{\"\":0}",
    "{ \"a\" : 1 }",
    "{\"a\":{}}",
    "{\"a\":[],\"b\":{}}",
    "{\"a\":1,\"a\":1}",
    "{\"a\":1,\"a\":2}",
    "{\"A\":1,\"a\":2}",
    "{\"__proto__\":{}}",
    "{\"\\u0000\":1}",
    "{\"a\\u0062\":1}",
    "{\"id\":2}",
    "{\"result\":1,\"error\":2}",
];

const INVALID: &[&str] = &[
    // Literals.
    "nul",
    "nulll",
    "NULL",
    "True",
    "tru",
    "fals",
    "nan",
    "NaN",
    "Infinity",
    "-Infinity",
    "undefined",
    "a",
    "*",
    "'a'",
    "",
    " ",
    "null null",
    "null,null",
    // Numbers.
    "+1",
    "-",
    "--1",
    "01",
    "-01",
    "00",
    "1.",
    ".5",
    "-.5",
    "1.e1",
    "1e",
    "1e+",
    "1e-",
    "1E",
    "0e",
    "1.5e",
    "0x1",
    "1_000",
    "1 000",
    "1a",
    "1.2.3",
    "1e1.5",
    "1e1e1",
    "\u{ff11}",
    "- 1",
    "0.e1",
    "-1.",
    "1.1e+-1",
    "++1",
    "1\u{a0}",
    "-foo",
    "0.1.1",
    // Texts.
    "\"",
    "\"a",
    "\"\\\"",
    "\"\\\\\\\"",
    "\"\\a\"",
    "\"\\x41\"",
    "\"\\'\"",
    "\"\\0\"",
    "\"\\u\"",
    "\"\\u0\"",
    "\"\\u00\"",
    "\"\\u000\"",
    "\"\\u00g0\"",
    "\"\\U0041\"",
    "\"\t\"",
    "\"\u{1}\"",
    "\"\u{1f}\"",
    "\"\\\t\"",
    "\"a\"\"b\"",
    "\"a\"b",
    "\"\\u{41}\"",
    "\"\\é\"",
    "\"\\ \"",
    "`a`",
    "\u{201c}a\u{201d}",
    "\\u0061",
    "\"\\ud83d\\",
    "\"\\u00A",
    // Arrays.
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,]",
    "[,1]",
    "[1,,2]",
    "[1 2]",
    "[1:2]",
    "[\"a\"",
    "[[]",
    "[]]",
    "[1;2]",
    "(1)",
    "[1}",
    "[null",
    "[...]",
    "[1,\n",
    "[a]",
    "[\"\": 1]",
    "[*]",
    "[-]",
    "<null>",
    // Objects.
    "{",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{,}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{null:1}",
    "{\"a\" 1}",
    "{\"a\",1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1,,\"b\":2}",
    "{\"a\"::1}",
    "{\"a\":1]",
    "{\"a\"}",
    "{[1]:1}",
    "{\"a\":b}",
    "{\"a\":1}}",
    "{\"a\":/*c*/1}",
    "{\"a\":1}//c",
    "{\"a\":1}#c",
    "#{\"a\":1}",
    "{\"a\":\"a",
    "{{}}",
    "{\"a\"=1}",
    // Other blanks than the four.
    "\u{a0}null",
    "\u{2003}null",
    "\u{c}null",
    "\u{b}null",
    "\u{feff}null",
    "\u{2060}null",
    "\u{85}1",
];

#[test]
fn what_is_json_is_accepted_and_kept_as_it_is() {
    for value in VALID {
        assert_eq!(accepts(value.as_bytes()), Ok(()), "{value}");
        assert!(serde_json::from_str::<serde_json::Value>(value).is_ok(), "the table is wrong about {value}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for value in INVALID {
        let refused = accepts(value.as_bytes());
        assert!(
            matches!(refused, Err(FaultKind::NotJson | FaultKind::LoneSurrogate)),
            "{value}: {refused:?}"
        );
        assert!(
            serde_json::from_str::<serde_json::Value>(value).is_err(),
            "the table is wrong about {value}"
        );
    }
    const { assert!(VALID.len() + INVALID.len() >= 200) };
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let wrong: &[&[u8]] = &[
        b"\"\xff\"",
        b"\"\xc0\xaf\"",
        b"\"\xe2\x82\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\"\x80\"",
        b"\xff",
        b"[\"\xe9\"]",
        b"{\"\xb9\":0}",
        b"\"\xf0\x80\x80\x80\"",
        b"\"\xfc\x83\xbf\xbf\xbf\xbf\"",
        b"\"\\u\xe5\"",
        b"1e1\xe5",
        b"[\xe5]",
        b"\"\xc3\xff\"",
    ];
    for value in wrong {
        assert_eq!(accepts(value), Err(FaultKind::NotUtf8), "{value:?}");
    }
    assert_eq!(accepts(b"\"a\0b\""), Err(FaultKind::Nul));
    assert_eq!(accepts(b"\0"), Err(FaultKind::Nul));
}

/// What the RFC leaves open, and what is done here.
#[test]
fn what_is_left_open_has_one_rule() {
    // Half a surrogate pair is no text in most languages: refused, wherever it stands.
    for value in [
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\ud800a\"",
        "{\"\\udfff\":0}",
        "\"\\uD888\\u1234\"",
        "\"\\ud800\\n\"",
        "[\"\\uDADA\"]",
        "\"\\uDd1e\\uD834\"",
        "\"\\ud800\\\"\"",
    ] {
        assert_eq!(accepts(value.as_bytes()), Err(FaultKind::LoneSurrogate), "{value}");
    }
    // Numbers have no bounds: they pass as text, and who reads them decides.
    for value in [
        "1e400",
        "-1e400",
        "1e-400",
        "123e100000",
        "0.4e00669999999999999999999999999999999999999999999999999999969",
    ] {
        assert_eq!(accepts(value.as_bytes()), Ok(()), "{value}");
    }
    assert_eq!(accepts("1".repeat(1_000_000).as_bytes()), Ok(()));
    // Depth has a bound: 64 with the envelope, so 63 here.
    let nested = |count: usize| format!("{}{}", "[".repeat(count), "]".repeat(count));
    assert_eq!(accepts(nested(63).as_bytes()), Ok(()));
    assert_eq!(accepts(nested(64).as_bytes()), Err(FaultKind::TooDeep));
    assert_eq!(accepts(nested(100_000).as_bytes()), Err(FaultKind::TooDeep));
    assert_eq!(accepts("[".repeat(100_000).as_bytes()), Err(FaultKind::TooDeep));
    assert_eq!(accepts("[{\"\":".repeat(50_000).as_bytes()), Err(FaultKind::TooDeep));
    // Members of values may repeat, and be many.
    let many = (0..1_000_000).map(|number| format!("\"{number}\":0,")).collect::<String>();
    assert_eq!(accepts(format!("{{{}\"x\":0}}", many).as_bytes()), Ok(()));
    // A byte order mark is none of JSON's blanks.
    assert!(matches!(
        parse(b"\xef\xbb\xbf{}", Wire::JsonRpc).map_err(|bad| bad.kind),
        Err(FaultKind::ByteOrderMark)
    ));
}
