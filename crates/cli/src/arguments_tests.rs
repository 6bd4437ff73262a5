//! What becomes of the words.

use super::*;
use serde_json::json;

fn made(words: &[&str], schema: Option<&Value>) -> Result<Value, Error> {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    let raw = read(&words)?.into_json(schema)?;
    Ok(serde_json::from_str(raw.get()).unwrap())
}

fn refused(words: &[&str]) -> String {
    let error = made(words, None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Usage, "{error}");
    assert!(error.hint().is_some(), "{error}");
    error.to_string()
}

#[test]
fn values_are_json_where_they_are_some_and_text_otherwise() {
    let words =
        ["n=5", "b=true", "z=null", "t=hello world", "l=[1,2]", "o={\"a\":1}", "q=\"5\"", "e=", "x=a=b"];
    let expected = json!({
        "n": 5, "b": true, "z": null, "t": "hello world", "l": [1, 2], "o": {"a": 1}, "q": "5", "e": "", "x": "a=b"
    });
    assert_eq!(made(&words, None).unwrap(), expected);
    assert_eq!(made(&["d=1.5", "s= 5 ", "a.b=1"], None).unwrap(), json!({"d": 1.5, "s": 5, "a.b": 1}));
    assert_eq!(made(&[], None).unwrap(), json!({}));
}

#[test]
fn the_sign_says_which_it_is() {
    assert_eq!(
        made(&["a==5", "b:=5", "c===x", "d:=\"t\""], None).unwrap(),
        json!({"a": "5", "b": 5, "c": "=x", "d": "t"})
    );
    assert!(refused(&["a:=hello"]).starts_with("a:= is no JSON: expected value (line 1, column 1)"));
}

#[test]
fn where_the_schema_says_string_a_number_stays_text() {
    let schema = json!({"properties": {
        "s": {"type": "string"}, "n": {"type": "integer"}, "m": {"type": ["string", "null"]},
        "e": {"enum": ["1", "2"]}, "k": {"type": ["string", "number"]}, "u": {}
    }});
    let words = ["s=5", "n=5", "m=5", "e=1", "k=5", "u=5"];
    assert_eq!(
        made(&words, Some(&schema)).unwrap(),
        json!({"s": "5", "n": 5, "m": "5", "e": "1", "k": 5, "u": 5})
    );
    assert_eq!(made(&["m=null", "s=true"], Some(&schema)).unwrap(), json!({"m": null, "s": "true"}));
    assert_eq!(made(&["s:=5"], Some(&schema)).unwrap(), json!({"s": 5}), "what is forced is forced");
}

#[test]
fn only_words_that_could_be_two_things_need_a_schema() {
    let depends = |words: &[&str]| {
        read(&words.iter().map(OsString::from).collect::<Vec<_>>()).unwrap().depends_on_schema()
    };
    assert!(depends(&["a=5"]) && depends(&["a=x", "b=null"]));
    assert!(!depends(&["a=x", "b==5", "c:=5"]) && !depends(&[]) && !depends(&["{\"a\":5}"]));
}

#[test]
fn a_number_too_long_for_a_computer_stays_text() {
    let long = "12345678901234567890123";
    assert_eq!(made(&[&format!("n={long}")], None).unwrap(), json!({"n": long}));
    assert_eq!(made(&["n=18446744073709551615"], None).unwrap(), json!({"n": u64::MAX}));
}

#[test]
fn an_object_is_taken_as_it_was_written() {
    let words = [OsString::from("{\"a\": 1.50, \"b\": 12345678901234567890123}")];
    let raw = read(&words).unwrap().into_json(None).unwrap();
    assert_eq!(raw.get(), "{\"a\": 1.50, \"b\": 12345678901234567890123}");
}

#[test]
fn what_is_wrong_is_said() {
    assert_eq!(refused(&["{\"a\": 1,}"]), "the argument is no JSON: trailing comma (line 1, column 9)");
    assert!(refused(&["[1]"]).contains("must be a JSON object"));
    assert!(refused(&["5"]).contains("must be a JSON object"));
    assert!(refused(&["hello"]).contains("neither JSON nor key=value"));
    assert_eq!(refused(&["a=1", "a=2"]), "'a' is given twice");
    assert_eq!(refused(&["{}", "a=2"]), "more words after '{}'");
    assert_eq!(refused(&["=2"]), "'=2' has no key before the '='");
    assert!(refused(&["a=1", "\u{1b}[2J"]).contains("\\u{1b}[2J"));
}

#[test]
fn files_are_bounded_and_no_directories() {
    let dir = std::env::temp_dir().join(format!("ringfence-arguments-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let good = dir.join("good.json");
    std::fs::write(&good, "{\"a\": 1}\n").unwrap();
    let at = |path: &Path| format!("@{}", path.display());
    assert_eq!(made(&[&at(&good)], None).unwrap(), json!({"a": 1}));
    assert!(refused(&[&at(&dir)]).ends_with("is a directory"));
    std::fs::write(&good, "{\n  \"a\": x\n}").unwrap();
    assert!(refused(&[&at(&good)]).ends_with("expected value (line 2, column 8)"));
    let missing = made(&[&at(&dir.join("none.json"))], None).unwrap_err();
    assert_eq!(missing.code(), ErrorCode::PathNotFound);
    let padded = |bytes: u64| format!("{{}}{}", " ".repeat(usize::try_from(bytes).unwrap() - 2));
    std::fs::write(&good, padded(INPUT_MAX_BYTES)).unwrap();
    assert_eq!(made(&[&at(&good)], None).unwrap(), json!({}));
    std::fs::write(&good, padded(INPUT_MAX_BYTES + 1)).unwrap();
    assert_eq!(made(&[&at(&good)], None).unwrap_err().code(), ErrorCode::TooLarge);
    std::fs::remove_dir_all(dir).unwrap();
}
