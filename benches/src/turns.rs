//! Rows that take turns.

use std::fmt;
use std::io;
use std::time::Duration;

/// How rows take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// Rounds that do not count.
    pub warm_up: usize,
    /// Rounds that count.
    pub rounds: usize,
    /// The pause before each measurement. Namespaces are put away after their last process has been reaped, by the kernel's
    /// own threads: without a rest, each row pays for what the row before it has left behind.
    pub rest: Duration,
}

impl Turns {
    /// For single starts, which take milliseconds: three rounds of warm-up, and a rest that is longer than what the
    /// slowest row has been seen to leave behind.
    #[must_use]
    pub fn of_starts(rounds: usize) -> Self {
        Self { warm_up: 3, rounds, rest: Duration::from_millis(10) }
    }

    /// For rows that rest by themselves or run for so long that what is left behind does not count.
    #[must_use]
    pub fn of_long_runs(warm_up: usize, rounds: usize) -> Self {
        Self { warm_up, rounds, rest: Duration::ZERO }
    }
}

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

/// Gives each row its turn, again and again, in the same order. A row that fails is out from then on, with the reason; the
/// others go on.
#[must_use]
pub fn take_turns(mut rows: Vec<Row<'_>>, turns: Turns) -> Vec<Measured> {
    let mut values = vec![Vec::with_capacity(turns.rounds); rows.len()];
    for round in 0..turns.warm_up + turns.rounds {
        for (row, values) in rows.iter_mut().zip(&mut values) {
            let Ok(measure) = &mut row.state else { continue };
            std::thread::sleep(turns.rest);
            match measure() {
                Ok(value) if round >= turns.warm_up => values.push(value),
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
        let measured =
            take_turns(vec![row("a"), row("b"), Row::skipped("c", "not here")], Turns::of_long_runs(1, 2));
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
        let measured = take_turns(vec![failing, Row::new("fine", || Ok(2.0))], Turns::of_long_runs(0, 3));
        assert_eq!(measured[0].values, Err("broken".to_owned()));
        assert_eq!(measured[1].values, Ok(vec![2.0; 3]));
        assert_eq!(calls, 2);
    }
}
