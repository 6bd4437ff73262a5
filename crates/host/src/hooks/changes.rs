//! What a mutator changed, as JSON pointers.

use serde_json::Value;

/// Places that are named at most.
pub(super) const CHANGES_MAX: usize = 32;

/// The places at which two values differ, below `at`. A list whose length differs, and a value of another type, differ as a
/// whole.
pub(super) fn between(before: &Value, after: &Value, at: &str, into: &mut Vec<String>) {
    if into.len() >= CHANGES_MAX || before == after {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                let place = format!("{at}/{}", escaped(key));
                match new.get(key) {
                    Some(now) => between(value, now, &place, into),
                    None => into.push(place),
                }
                if into.len() >= CHANGES_MAX {
                    return;
                }
            }
            let added = new.keys().filter(|key| !old.contains_key(*key));
            let room = CHANGES_MAX - into.len();
            into.extend(added.take(room).map(|key| format!("{at}/{}", escaped(key))));
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                between(old, new, &format!("{at}/{index}"), into);
            }
        }
        _ => into.push(at.to_owned()),
    }
}

/// As RFC 6901 has it; a name is shown to people, so it is cut and obeys nothing.
fn escaped(key: &str) -> String {
    crate::consent::shown(key).replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(before: Value, after: Value) -> Vec<String> {
        let mut found = Vec::new();
        between(&before, &after, "/body", &mut found);
        found
    }

    #[test]
    fn each_changed_added_and_removed_place_is_named() {
        let before = json!({"a": 1, "b": {"c": [1, 2], "d": 1}, "e": 1});
        let after = json!({"a": 1, "b": {"c": [1, 3], "d": 1}, "f/g": 1});
        assert_eq!(changes(before.clone(), after), ["/body/b/c/1", "/body/e", "/body/f~1g"]);
        assert_eq!(changes(json!([1]), json!([1, 2])), ["/body"]);
        assert_eq!(changes(json!(1), json!("1")), ["/body"]);
        assert!(changes(before.clone(), before).is_empty());
    }

    #[test]
    fn many_changes_are_cut() {
        let many = |value: i32| Value::from((0..500).map(|_| json!(value)).collect::<Vec<_>>());
        assert_eq!(changes(many(1), many(2)).len(), CHANGES_MAX);
        let wide = |value: i32| Value::Object((0..500).map(|n| (n.to_string(), json!(value))).collect());
        assert_eq!(changes(wide(1), wide(2)).len(), CHANGES_MAX);
        assert_eq!(changes(json!({}), wide(2)).len(), CHANGES_MAX);
    }
}
