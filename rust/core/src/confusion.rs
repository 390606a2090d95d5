//! How often each class was taken for each other one: integer counts, the same whatever the order they came in.

use crate::error::{Error, Result, reserved};

/// Up to this many classes the counts are a table of `C * C` cells; above, only cells that are not 0 are stored.
pub const DENSE_CLASSES: usize = 2000;

/// Most classes: beyond, the number is a mistake.
pub const MAX_CLASSES: usize = 1 << 24;

/// Counts of `(target, predicted)` pairs, correct ones included.
///
/// A table costs 8 bytes a cell, 32 MB at [`DENSE_CLASSES`], and one addition a pair. Sparse rows are sorted by predicted
/// class and cost 12 bytes a cell that is not 0 (up to twice as much while they grow); a new cell moves the rest of its
/// row, at most C entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionCounts {
    num_classes: usize,
    /// Sum of all cells: as it fits, every cell does.
    total: i64,
    cells: Cells,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cells {
    Dense(Vec<i64>),
    Sparse(Vec<Row>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Row {
    predicted: Vec<u32>,
    counts: Vec<i64>,
}

/// The cells that are not 0, by target, then by predicted class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    /// True class of each.
    pub target: Vec<i64>,
    /// Class it was taken for.
    pub predicted: Vec<i64>,
    /// How often, positive.
    pub count: Vec<i64>,
}

impl ConfusionCounts {
    /// No counts yet.
    ///
    /// # Errors
    /// If there is no class, there are more than [`MAX_CLASSES`], or too many for the memory.
    pub fn new(num_classes: usize) -> Result<Self> {
        if !(1..=MAX_CLASSES).contains(&num_classes) {
            return Err(Error::Value(format!(
                "num_classes must lie in [1, {MAX_CLASSES}], got {num_classes}"
            )));
        }
        let cells = if num_classes <= DENSE_CLASSES {
            Cells::Dense(zeros(num_classes * num_classes)?)
        } else {
            let mut rows = reserved(num_classes)?;
            rows.resize(num_classes, Row::default());
            Cells::Sparse(rows)
        };
        Ok(Self {
            num_classes,
            total: 0,
            cells,
        })
    }

    /// C.
    #[must_use]
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Pairs counted.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.total
    }

    /// Bytes that the cells occupy.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.cells {
            Cells::Dense(cells) => size_of_val(cells.as_slice()),
            Cells::Sparse(rows) => rows.iter().map(Row::memory).sum(),
        }
    }

    /// Count one pair for each row. All rows are checked before the first is counted.
    ///
    /// # Errors
    /// If the lengths differ, a class lies outside, or the total would pass 2^63.
    pub fn update(&mut self, target: &[i64], predicted: &[i64]) -> Result<()> {
        self.check(target, predicted)?;
        self.total = sum(self.total, target.len() as i64)?;
        for (&target, &predicted) in target.iter().zip(predicted) {
            self.add(target as usize, predicted as u32, 1);
        }
        Ok(())
    }

    /// Add counts made elsewhere; the same cell may come more than once.
    ///
    /// # Errors
    /// If the lengths differ, a class lies outside, a count is negative, or the total would pass 2^63. Then nothing has
    /// been added.
    pub fn merge(&mut self, target: &[i64], predicted: &[i64], count: &[i64]) -> Result<()> {
        self.check(target, predicted)?;
        if count.len() != target.len() {
            return Err(Error::Value(format!(
                "count must have one entry a cell ({}), got {}",
                target.len(),
                count.len()
            )));
        }
        if let Some(at) = count.iter().position(|&count| count < 0) {
            return Err(Error::Value(format!(
                "count must be >= 0, got {} at position {at}",
                count[at]
            )));
        }
        self.total = count
            .iter()
            .try_fold(self.total, |total, &n| sum(total, n))?;
        for ((&target, &predicted), &count) in target.iter().zip(predicted).zip(count) {
            if count > 0 {
                self.add(target as usize, predicted as u32, count);
            }
        }
        Ok(())
    }

    /// The cells that are not 0.
    ///
    /// # Errors
    /// If they do not fit into memory.
    pub fn entries(&self) -> Result<Entries> {
        let len = self.cells().count();
        let mut entries = Entries {
            target: reserved(len)?,
            predicted: reserved(len)?,
            count: reserved(len)?,
        };
        for (target, predicted, count) in self.cells() {
            entries.target.push(target as i64);
            entries.predicted.push(i64::from(predicted));
            entries.count.push(count);
        }
        Ok(entries)
    }

    /// All `C * C` cells, target by row.
    ///
    /// # Errors
    /// If they do not fit into memory.
    pub fn matrix(&self) -> Result<Vec<i64>> {
        let mut cells = zeros(self.num_classes.saturating_mul(self.num_classes))?;
        for (target, predicted, count) in self.cells() {
            cells[target * self.num_classes + predicted as usize] = count;
        }
        Ok(cells)
    }

    fn cells(&self) -> Box<dyn Iterator<Item = (usize, u32, i64)> + '_> {
        match &self.cells {
            Cells::Dense(cells) => Box::new(
                cells
                    .iter()
                    .enumerate()
                    .filter(|&(_, &count)| count != 0)
                    .map(|(at, &count)| {
                        (at / self.num_classes, (at % self.num_classes) as u32, count)
                    }),
            ),
            Cells::Sparse(rows) => Box::new(
                rows.iter()
                    .enumerate()
                    .flat_map(|(target, row)| row.cells().map(move |(p, n)| (target, p, n))),
            ),
        }
    }

    fn add(&mut self, target: usize, predicted: u32, count: i64) {
        match &mut self.cells {
            Cells::Dense(cells) => cells[target * self.num_classes + predicted as usize] += count,
            Cells::Sparse(rows) => rows[target].add(predicted, count),
        }
    }

    fn check(&self, target: &[i64], predicted: &[i64]) -> Result<()> {
        if target.len() != predicted.len() {
            return Err(Error::Value(format!(
                "predicted must have one entry a target ({}), got {}",
                target.len(),
                predicted.len()
            )));
        }
        for (name, classes) in [("target", target), ("predicted", predicted)] {
            // As unsigned numbers the negative ones are the largest.
            let outside = |&class: &i64| class as u64 >= self.num_classes as u64;
            if let Some(at) = classes.iter().position(outside) {
                return Err(Error::Value(format!(
                    "{name} must lie in [0, {}), got {} at position {at}",
                    self.num_classes, classes[at]
                )));
            }
        }
        Ok(())
    }
}

impl Row {
    fn add(&mut self, predicted: u32, count: i64) {
        match self.predicted.binary_search(&predicted) {
            Ok(at) => self.counts[at] += count,
            Err(at) => {
                self.predicted.insert(at, predicted);
                self.counts.insert(at, count);
            }
        }
    }

    fn cells(&self) -> impl Iterator<Item = (u32, i64)> + '_ {
        self.predicted
            .iter()
            .copied()
            .zip(self.counts.iter().copied())
    }

    fn memory(&self) -> usize {
        size_of::<Self>()
            + self.predicted.capacity() * size_of::<u32>()
            + self.counts.capacity() * size_of::<i64>()
    }
}

fn sum(total: i64, more: i64) -> Result<i64> {
    total.checked_add(more).ok_or_else(|| {
        Error::Value(format!(
            "the counts must add up to less than 2**63, got {total} + {more}"
        ))
    })
}

fn zeros(len: usize) -> Result<Vec<i64>> {
    let mut cells = reserved(len)?;
    cells.resize(len, 0);
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Dense and sparse sizes, and pairs that fall on few of the classes, so that cells repeat.
    fn pairs() -> impl Strategy<Value = (usize, Vec<(i64, i64)>)> {
        prop_oneof![1usize..12, Just(DENSE_CLASSES), DENSE_CLASSES + 1..9000].prop_flat_map(
            |classes| {
                let class = (0..classes.min(40) as i64)
                    .prop_map(move |class| class * 37 % classes.min(9000) as i64);
                let pair = (class.clone(), class);
                (Just(classes), prop::collection::vec(pair, 0..200))
            },
        )
    }

    fn message<T>(result: Result<T>) -> String {
        match result {
            Ok(_) => panic!("no error"),
            Err(error) => error.to_string(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn counts_are_those_of_a_map((classes, pairs) in pairs(), cut in 0usize..200) {
            let mut wanted = BTreeMap::new();
            for &pair in &pairs {
                *wanted.entry(pair).or_insert(0i64) += 1;
            }
            let (target, predicted): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
            let mut whole = ConfusionCounts::new(classes).unwrap();
            whole.update(&target, &predicted).unwrap();
            let found = whole.entries().unwrap();
            prop_assert_eq!(&found.target, &wanted.keys().map(|pair| pair.0).collect::<Vec<_>>());
            prop_assert_eq!(&found.predicted, &wanted.keys().map(|pair| pair.1).collect::<Vec<_>>());
            prop_assert_eq!(&found.count, &wanted.values().copied().collect::<Vec<_>>());
            prop_assert_eq!(whole.total(), pairs.len() as i64);

            // In two parts, the second counted first, elsewhere.
            let cut = cut.min(pairs.len());
            let (mut first, mut second) = (ConfusionCounts::new(classes).unwrap(), ConfusionCounts::new(classes).unwrap());
            second.update(&target[cut..], &predicted[cut..]).unwrap();
            first.update(&target[..cut], &predicted[..cut]).unwrap();
            let part = first.entries().unwrap();
            second.merge(&part.target, &part.predicted, &part.count).unwrap();
            prop_assert_eq!(second, whole);
        }
    }

    #[test]
    fn the_matrix_has_the_target_by_row() {
        for classes in [3, DENSE_CLASSES + 1] {
            let mut counts = ConfusionCounts::new(classes).unwrap();
            counts.update(&[2, 0, 2], &[1, 0, 1]).unwrap();
            let matrix = counts.matrix().unwrap();
            assert_eq!(matrix.len(), classes * classes);
            assert_eq!((matrix[0], matrix[2 * classes + 1]), (1, 2));
            assert_eq!(matrix.iter().sum::<i64>(), 3);
        }
    }

    #[test]
    fn sparse_rows_cost_what_they_hold() {
        let mut counts = ConfusionCounts::new(8142).unwrap();
        let target: Vec<i64> = (0..8142).flat_map(|class| [class; 50]).collect();
        let predicted: Vec<i64> = (0..target.len() as i64)
            .map(|at| at * 4_871 % 8142)
            .collect();
        counts.update(&target, &predicted).unwrap();
        assert!(counts.memory() < 12 << 20, "{}", counts.memory());
    }

    #[test]
    fn refuses_in_words_and_counts_nothing() {
        let mut counts = ConfusionCounts::new(4).unwrap();
        let before = counts.clone();
        let cases: [(&[i64], &[i64], &str); 5] = [
            (
                &[0],
                &[],
                "predicted must have one entry a target (1), got 0",
            ),
            (
                &[0, 4],
                &[0, 0],
                "target must lie in [0, 4), got 4 at position 1",
            ),
            (
                &[0, -1],
                &[0, 0],
                "target must lie in [0, 4), got -1 at position 1",
            ),
            (
                &[0, 0],
                &[1, i64::MIN],
                "predicted must lie in [0, 4), got -9223372036854775808 at position 1",
            ),
            (
                &[0],
                &[i64::MAX],
                "predicted must lie in [0, 4), got 9223372036854775807 at position 0",
            ),
        ];
        for (target, predicted, text) in cases {
            assert_eq!(message(counts.update(target, predicted)), text);
        }
        assert_eq!(
            message(counts.merge(&[0], &[1], &[-2])),
            "count must be >= 0, got -2 at position 0"
        );
        assert_eq!(
            message(counts.merge(&[0], &[1], &[])),
            "count must have one entry a cell (1), got 0"
        );
        let full = message(counts.merge(&[0, 1], &[1, 1], &[i64::MAX, 1]));
        assert!(
            full.starts_with(
                "the counts must add up to less than 2**63, got 9223372036854775807 + 1"
            )
        );
        assert_eq!(counts, before);
        assert_eq!(
            message(ConfusionCounts::new(0)),
            "num_classes must lie in [1, 16777216], got 0"
        );
        assert!(ConfusionCounts::new(usize::MAX).is_err());
    }
}
