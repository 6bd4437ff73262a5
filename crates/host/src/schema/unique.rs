//! `uniqueItems` in bounded time.
//!
//! The engine finds equal elements by a hash of fixed keys, under which different values can be made to collide: numbers
//! beyond 2⁵³ that round to the same float, for one. A list of those would be compared pair by pair. Sorting by an order of
//! all values takes n·log n comparisons whatever the list holds.

use std::cmp::Ordering;

use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Number, Value};

/// The name of the keyword.
pub(super) const KEYWORD: &str = "uniqueItems";

/// The keyword with its value.
struct UniqueItems {
    wanted: bool,
}

/// Makes the keyword for the engine.
#[expect(clippy::unnecessary_wraps, reason = "the engine prescribes the type")]
pub(super) fn keyword<'a>(
    _: &'a Map<String, Value>,
    value: &'a Value,
    _: jsonschema::paths::Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
    Ok(Box::new(UniqueItems { wanted: *value == Value::Bool(true) }))
}

impl<'i> Keyword<'i> for UniqueItems {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) { Ok(()) } else { Err(ValidationError::custom("the same element twice")) }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        !self.wanted || instance.as_array().is_none_or(|elements| are_unique(elements))
    }
}

/// Comparisons that a list of `count` elements takes for each of its parts, at most.
pub(super) fn comparisons(count: usize) -> u64 {
    2 + 2 * u64::from(count.checked_ilog2().unwrap_or_default())
}

fn are_unique(elements: &[Value]) -> bool {
    let mut sorted: Vec<Ordered<'_>> = elements.iter().map(Ordered::of).collect();
    sorted.sort_by(compare);
    sorted.array_windows().all(|[a, b]| compare(a, b).is_ne())
}

/// A value with the members of its objects in the order of their names.
enum Ordered<'v> {
    Scalar(&'v Value),
    List(Vec<Self>),
    Members(Vec<(&'v str, Self)>),
}

impl<'v> Ordered<'v> {
    /// The depth of values was bounded before, so this recursion is.
    fn of(value: &'v Value) -> Self {
        match value {
            Value::Array(elements) => Self::List(elements.iter().map(Self::of).collect()),
            Value::Object(members) => {
                let members = members.iter().map(|(name, value)| (name.as_str(), Self::of(value)));
                let mut members: Vec<_> = members.collect();
                members.sort_by_key(|(name, _)| *name);
                Self::Members(members)
            }
            scalar => Self::Scalar(scalar),
        }
    }
}

/// An order of all values in which just what JSON Schema calls equal is equal.
fn compare(a: &Ordered<'_>, b: &Ordered<'_>) -> Ordering {
    match (a, b) {
        (Ordered::Scalar(a), Ordered::Scalar(b)) => match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (a, b) => rank(a).cmp(&rank(b)),
        },
        (Ordered::List(a), Ordered::List(b)) => a.len().cmp(&b.len()).then_with(|| {
            a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }),
        (Ordered::Members(a), Ordered::Members(b)) => a.len().cmp(&b.len()).then_with(|| {
            let pairs = a.iter().zip(b);
            let mut orders = pairs.map(|((a, one), (b, other))| a.cmp(b).then_with(|| compare(one, other)));
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }),
        (Ordered::Scalar(_), _) | (Ordered::List(_), Ordered::Members(_)) => Ordering::Less,
        (_, Ordered::Scalar(_)) | (Ordered::Members(_), Ordered::List(_)) => Ordering::Greater,
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    }
}

/// By their exact worth: 1 is 1.0, and 2⁵³ + 1 is not 2⁵³.
fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    let whole = |number: &Number| number.as_i128();
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => compare_mixed(a, b.as_f64().unwrap_or_default()),
        (None, Some(b)) => compare_mixed(b, a.as_f64().unwrap_or_default()).reverse(),
        (None, None) => {
            let (a, b) = (a.as_f64().unwrap_or_default(), b.as_f64().unwrap_or_default());
            // Zero has two signs and is one number; JSON has nothing that cannot be compared.
            a.partial_cmp(&b).unwrap_or(Ordering::Equal)
        }
    }
}

fn compare_mixed(whole: i128, float: f64) -> Ordering {
    // Everything whole that a float of this size holds fits; what is larger is larger.
    const LIMIT: f64 = 1e30;
    if float.abs() >= LIMIT {
        return if float > 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above, and the fraction is looked at next")]
    let below = float.floor() as i128;
    let fraction = float.floor() < float;
    whole.cmp(&below).then(if fraction { Ordering::Less } else { Ordering::Equal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_equal_by_json_schema_is_equal_and_nothing_else() {
        let different = json!([
            null, false, true, 0, 1, 1.5, -1, 9_007_199_254_740_992_u64, 9_007_199_254_740_993_u64, 1e300, -1e300, "", "1",
            "a", [], [1], [1, 2], [2, 1], {}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 2}, u64::MAX, i64::MIN
        ]);
        let different = different.as_array().unwrap();
        assert!(are_unique(different));
        for (index, value) in different.iter().enumerate() {
            for (other, with) in different.iter().enumerate() {
                let (one, two) = (Ordered::of(value), Ordered::of(with));
                assert_eq!(compare(&one, &two), compare(&two, &one).reverse(), "{value} {with}");
                assert_eq!(compare(&one, &two).is_eq(), index == other, "{value} {with}");
            }
        }
        let same = [
            (json!(1), json!(1.0)),
            (json!(0), json!(-0.0)),
            (json!(9_007_199_254_740_992_u64), json!(9_007_199_254_740_992.0)),
            (json!({"a": 1, "b": [2]}), json!({"b": [2.0], "a": 1})),
        ];
        for (a, b) in same {
            assert!(!are_unique(&[a.clone(), json!("x"), b.clone()]), "{a} {b}");
        }
    }
}
