//! Rows that take turns.

use std::fmt;
use std::io;

/// One thing that is measured again and again.
pub struct Row<'a> {
    name: String,
    state: Result<Measure<'a>, String>,
}

/// One measurement: a value in the table's unit.
type Measure<'a> = Box<dyn FnMut() -> io::Result<f64> + 'a>;

impl fmt::Debug for Row<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Row({})", self.name)
    }
}

impl<'a> Row<'a> {
    /// A row whose value, in the table's unit, `measure` gives.
    pub fn new(name: impl Into<String>, measure: impl FnMut() -> io::Result<f64> + 'a) -> Self {
        Self { name: name.into(), state: Ok(Box::new(measure)) }
    }

    /// A row that cannot be measured here; the table says why.
    #[must_use]
    pub fn skipped(name: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { name: name.into(), state: Err(reason.to_string()) }
    }

    /// The row that `make` gives, or one that is skipped with the reason for which it could not be made.
    pub fn try_new(name: &str, make: impl FnOnce() -> io::Result<Row<'a>>) -> Self {
        make().unwrap_or_else(|error| Self::skipped(name, error))
    }
}

/// A row after its turns.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What was measured.
    pub name: String,
    /// One value for each round; or why there are none.
    pub values: Result<Vec<f64>, String>,
}

/// Gives each row its turn `rounds` times, in the same order, after `warm_up` rounds that do not count. A row that fails
/// is out from then on, with the reason; the others go on.
#[must_use]
pub fn take_turns(mut rows: Vec<Row<'_>>, warm_up: usize, rounds: usize) -> Vec<Measured> {
    let mut values = vec![Vec::with_capacity(rounds); rows.len()];
    for round in 0..warm_up + rounds {
        for (row, values) in rows.iter_mut().zip(&mut values) {
            let Ok(measure) = &mut row.state else { continue };
            match measure() {
                Ok(value) if round >= warm_up => values.push(value),
                Ok(_) => {}
                Err(error) => row.state = Err(error.to_string()),
            }
        }
    }
    let measured = rows.into_iter().zip(values);
    measured.map(|(row, values)| Measured { name: row.name, values: row.state.map(|_| values) }).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn rows_take_turns_and_warm_up() {
        let order = RefCell::new(String::new());
        let row = |name: &'static str| {
            Row::new(name, || {
                order.borrow_mut().push_str(name);
                Ok(1.0)
            })
        };
        let measured = take_turns(vec![row("a"), row("b"), Row::skipped("c", "not here")], 1, 2);
        assert_eq!(*order.borrow(), "ababab");
        assert_eq!(measured[1].values, Ok(vec![1.0, 1.0]));
        assert_eq!(measured[2].values, Err("not here".to_owned()));
    }

    #[test]
    fn a_row_that_fails_is_out() {
        let mut calls = 0;
        let failing = Row::new("failing", || {
            calls += 1;
            if calls == 2 { Err(io::Error::other("broken")) } else { Ok(1.0) }
        });
        let measured = take_turns(vec![failing, Row::new("fine", || Ok(2.0))], 0, 3);
        assert_eq!(measured[0].values, Err("broken".to_owned()));
        assert_eq!(measured[1].values, Ok(vec![2.0; 3]));
        assert_eq!(calls, 2);
    }
}
