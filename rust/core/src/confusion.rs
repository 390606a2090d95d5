//! Confusion counts: how often each class was predicted as each class. Integers, so the order of updates does not
//! matter.

use crate::error::{Error, Result, collected, filled, reserved, zeros};
use crate::interrupt::{PIECE, poll};
use crate::source::Source;

/// Up to this many classes the counts are a table of `C * C` cells; above, only cells that are not 0 are stored.
pub const DENSE_CLASSES: usize = 2000;

/// Largest number of classes; a larger one is a mistake.
pub const MAX_CLASSES: usize = 1 << 24;

/// Largest number of pairs or cells for which an increment is stored as a list; longer increments are counted into a
/// temporary table.
const LISTED: usize = 1 << 20;

/// Counts of `(target, predicted)` pairs, correct ones included.
///
/// A table costs 8 bytes per cell, 32 MB at [`DENSE_CLASSES`], and one addition per pair. Sparse rows are sorted by
/// predicted class and cost 12 bytes per nonzero cell (up to twice as much while they grow); new cells move the rest of
/// their row, once per increment.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfusionCounts {
    num_classes: usize,
    /// Sum of all cells. It fits into `i64`, so every cell does.
    total: i64,
    cells: Cells,
}

#[derive(Debug, PartialEq, Eq)]
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
    /// Predicted class of each.
    pub predicted: Vec<i64>,
    /// How often, positive.
    pub count: Vec<i64>,
}

impl ConfusionCounts {
    /// Counts of zero.
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
            Cells::Sparse(filled(num_classes, &Row::default())?)
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
    /// If the lengths differ, a class is out of range, or the total would exceed 2^63. Then nothing has been counted.
    pub fn update(
        &mut self,
        target: &(impl Source<i64> + ?Sized),
        predicted: &(impl Source<i64> + ?Sized),
    ) -> Result<()> {
        self.add(&Increment::of_pairs(self.num_classes, target, predicted)?)
    }

    /// Add counts from another object; a cell may occur more than once.
    ///
    /// # Errors
    /// If the lengths differ, a class is out of range, a count is negative, or the total would exceed 2^63. Then
    /// nothing has been added.
    pub fn merge(
        &mut self,
        target: &(impl Source<i64> + ?Sized),
        predicted: &(impl Source<i64> + ?Sized),
        count: &(impl Source<i64> + ?Sized),
    ) -> Result<()> {
        self.add(&Increment::of_cells(
            self.num_classes,
            target,
            predicted,
            count,
        )?)
    }

    /// Add a checked increment. Never interrupted, so an increment is added whole or not at all.
    ///
    /// # Errors
    /// If the numbers of classes differ, the total would exceed 2^63, or memory runs out. Then nothing has been added.
    pub fn add(&mut self, more: &Increment) -> Result<()> {
        if more.num_classes != self.num_classes {
            return Err(Error::Value(format!(
                "the counts must be of {} classes, got {}",
                self.num_classes, more.num_classes
            )));
        }
        // The total bounds every cell: once it is below 2^63, no sum of cells can overflow.
        let total = sum(self.total, more.total)?;
        match (&mut self.cells, &more.part) {
            (Cells::Dense(cells), Part::Pairs(keys)) => {
                for &key in keys {
                    cells[cell(key, self.num_classes)] += 1;
                }
            }
            (Cells::Dense(cells), Part::Cells(list)) => {
                for &(key, count) in list {
                    cells[cell(key, self.num_classes)] += count;
                }
            }
            (Cells::Dense(cells), Part::Table(table)) => {
                for (at, &count) in table.dense().iter().enumerate() {
                    cells[at] += count;
                }
            }
            (Cells::Sparse(rows), part) => {
                part.each_row(|target, list| rows[target].reserve(list.len()))?;
                part.each_row(|target, list| {
                    rows[target].add(list);
                    Ok(())
                })?;
            }
        }
        self.total = total;
        Ok(())
    }

    /// A copy.
    ///
    /// # Errors
    /// If it does not fit into memory.
    pub fn try_clone(&self) -> Result<Self> {
        let cells = match &self.cells {
            Cells::Dense(cells) => Cells::Dense(cells.to_copy()?),
            Cells::Sparse(rows) => {
                let mut copies = reserved(rows.len())?;
                for row in rows {
                    copies.push(row.try_clone()?);
                }
                Cells::Sparse(copies)
            }
        };
        Ok(Self { cells, ..*self })
    }

    fn dense(&self) -> &[i64] {
        match &self.cells {
            Cells::Dense(cells) => cells,
            Cells::Sparse(_) => &[],
        }
    }

    /// The cells that are not 0.
    ///
    /// # Errors
    /// If they do not fit into memory; those of an interrupt.
    pub fn entries(&self) -> Result<Entries> {
        let len = self.cells().count();
        let mut entries = Entries {
            target: reserved(len)?,
            predicted: reserved(len)?,
            count: reserved(len)?,
        };
        for (at, (target, predicted, count)) in self.cells().enumerate() {
            if at.is_multiple_of(PIECE) {
                poll()?;
            }
            entries.target.push(target as i64);
            entries.predicted.push(i64::from(predicted));
            entries.count.push(count);
        }
        Ok(entries)
    }

    /// All `C * C` cells, target by row.
    ///
    /// # Errors
    /// If they do not fit into memory; those of an interrupt.
    pub fn matrix(&self) -> Result<Vec<i64>> {
        let mut cells = zeros(self.num_classes.saturating_mul(self.num_classes))?;
        for (at, (target, predicted, count)) in self.cells().enumerate() {
            if at.is_multiple_of(PIECE) {
                poll()?;
            }
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
}

/// An increment: values that were read once and checked, owned by the caller.
#[derive(Debug)]
pub struct Increment {
    num_classes: usize,
    total: i64,
    part: Part,
}

/// A cell's key is `target << 32 | predicted`.
#[derive(Debug)]
enum Part {
    /// One entry per pair, for tables.
    Pairs(Vec<u64>),
    /// Keys and counts. For sparse rows they are sorted and each key occurs once.
    Cells(Vec<(u64, i64)>),
    /// A long increment, already counted into a table.
    Table(ConfusionCounts),
}

impl Increment {
    /// One for each row of `target` and `predicted`.
    ///
    /// # Errors
    /// If the lengths differ, a class is out of range, or memory runs out; those of an interrupt.
    pub fn of_pairs(
        num_classes: usize,
        target: &(impl Source<i64> + ?Sized),
        predicted: &(impl Source<i64> + ?Sized),
    ) -> Result<Self> {
        check_lengths(target.len(), predicted.len())?;
        Self::in_parts(num_classes, target.len(), |start, end| {
            let keys = read_keys(num_classes, target, predicted, start, end)?;
            let part = if num_classes <= DENSE_CLASSES {
                Part::Pairs(keys)
            } else {
                Part::Cells(summed(collected(
                    keys.len(),
                    keys.iter().map(|&key| (key, 1)),
                )?))
            };
            Ok((part, (end - start) as i64))
        })
    }

    /// Counts of another object, cell by cell.
    ///
    /// # Errors
    /// If the lengths differ, a class is out of range, a count is negative, their sum exceeds 2^63, or memory runs out;
    /// those of an interrupt.
    pub fn of_cells(
        num_classes: usize,
        target: &(impl Source<i64> + ?Sized),
        predicted: &(impl Source<i64> + ?Sized),
        count: &(impl Source<i64> + ?Sized),
    ) -> Result<Self> {
        check_lengths(target.len(), predicted.len())?;
        if count.len() != target.len() {
            return Err(Error::Value(format!(
                "count must have one entry a cell ({}), got {}",
                target.len(),
                count.len()
            )));
        }
        Self::in_parts(num_classes, target.len(), |start, end| {
            let keys = read_keys(num_classes, target, predicted, start, end)?;
            let mut cells = reserved(keys.len())?;
            let mut total = 0;
            count.try_range(start, end, |at, count| {
                if count < 0 {
                    return Err(Error::Value(format!(
                        "count must be >= 0, got {count} at position {at}"
                    )));
                }
                total = sum(total, count)?;
                if count > 0 {
                    cells.push((keys[at - start], count));
                }
                Ok(())
            })?;
            if num_classes > DENSE_CLASSES {
                cells = summed(cells);
            }
            Ok((Part::Cells(cells), total))
        })
    }

    /// The increment that `read` makes of `len` rows; for a long one, a table into which pieces of them are counted.
    fn in_parts(
        num_classes: usize,
        len: usize,
        read: impl Fn(usize, usize) -> Result<(Part, i64)>,
    ) -> Result<Self> {
        let of = |(part, total)| Self {
            num_classes,
            total,
            part,
        };
        if len <= LISTED {
            return read(0, len).map(of);
        }
        let mut table = ConfusionCounts::new(num_classes)?;
        for start in (0..len).step_by(LISTED) {
            poll()?;
            table.add(&of(read(start, len.min(start + LISTED))?))?;
        }
        let total = table.total;
        Ok(of((Part::Table(table), total)))
    }
}

impl Part {
    /// Call `visit` for every row of the increment, with its target and its sorted cells.
    fn each_row(&self, mut visit: impl FnMut(usize, &[(u64, i64)]) -> Result<()>) -> Result<()> {
        let mut list = Vec::new();
        match self {
            Self::Pairs(_) => Ok(()), // used for tables only
            Self::Cells(cells) => cells
                .chunk_by(|one, next| one.0 >> 32 == next.0 >> 32)
                .try_for_each(|row| visit((row[0].0 >> 32) as usize, row)),
            Self::Table(table) => match &table.cells {
                Cells::Dense(_) => Ok(()),
                Cells::Sparse(rows) => {
                    let filled = rows
                        .iter()
                        .enumerate()
                        .filter(|(_, row)| !row.counts.is_empty());
                    for (target, row) in filled {
                        let cells = row.cells().map(|(class, n)| (u64::from(class), n));
                        relist(&mut list, row.counts.len(), cells)?;
                        visit(target, &list)?;
                    }
                    Ok(())
                }
            },
        }
    }
}

/// Replace the elements of `list`.
fn relist<T>(list: &mut Vec<T>, len: usize, values: impl Iterator<Item = T>) -> Result<()> {
    list.clear();
    if list.capacity() < len {
        *list = reserved(len)?;
    }
    list.extend(values);
    Ok(())
}

/// Position of a key's cell in a table.
#[inline]
fn cell(key: u64, num_classes: usize) -> usize {
    (key >> 32) as usize * num_classes + key as u32 as usize
}

/// Keys of the rows `start..end`.
fn read_keys(
    num_classes: usize,
    target: &(impl Source<i64> + ?Sized),
    predicted: &(impl Source<i64> + ?Sized),
    start: usize,
    end: usize,
) -> Result<Vec<u64>> {
    let mut keys = reserved(end - start)?;
    let checked = |name: &str, at: usize, class: i64| {
        // Negative numbers become the largest ones when read as unsigned: one comparison checks both ends.
        if (class as u64) < num_classes as u64 {
            return Ok(class as u64);
        }
        Err(Error::Value(format!(
            "{name} must lie in [0, {num_classes}), got {class} at position {at}"
        )))
    };
    target.try_range(start, end, |at, class| {
        keys.push(checked("target", at, class)? << 32);
        Ok(())
    })?;
    predicted.try_range(start, end, |at, class| {
        keys[at - start] |= checked("predicted", at, class)?;
        Ok(())
    })?;
    Ok(keys)
}

/// Cells sorted by key, each key once. Their total is below 2^63.
fn summed(mut cells: Vec<(u64, i64)>) -> Vec<(u64, i64)> {
    cells.sort_unstable_by_key(|&(key, _)| key);
    cells.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    cells
}

fn check_lengths(target: usize, predicted: usize) -> Result<()> {
    if target == predicted {
        return Ok(());
    }
    Err(Error::Value(format!(
        "predicted must have one entry a target ({target}), got {predicted}"
    )))
}

impl Row {
    /// Make room for `more` cells.
    fn reserve(&mut self, more: usize) -> Result<()> {
        let room = self.predicted.try_reserve(more);
        match room.and_then(|()| self.counts.try_reserve(more)) {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::Memory(format!(
                "cannot allocate {more} more cells of the confusion counts"
            ))),
        }
    }

    /// Add cells, sorted by predicted class, each once; `reserve` has made room for them.
    fn add(&mut self, cells: &[(u64, i64)]) {
        if let &[(class, count)] = cells {
            return self.add_one(class as u32, count);
        }
        let old = self.predicted.len();
        let known = |cell: &&(u64, i64)| self.predicted.binary_search(&(cell.0 as u32)).is_ok();
        let mut gap = cells.len() - cells.iter().filter(known).count();
        self.predicted.resize(old + gap, 0);
        self.counts.resize(old + gap, 0);
        // Merge from the back: each run of old cells then moves once, by the number of new cells before its end.
        let mut end = old;
        for &(key, count) in cells.iter().rev() {
            let class = key as u32;
            let at = self.predicted[..end].partition_point(|&other| other < class);
            if at < end && self.predicted[at] == class {
                self.counts[at] += count;
                continue;
            }
            self.predicted.copy_within(at..end, at + gap);
            self.counts.copy_within(at..end, at + gap);
            (end, gap) = (at, gap - 1);
            self.predicted[at + gap] = class;
            self.counts[at + gap] = count;
        }
    }

    fn add_one(&mut self, class: u32, count: i64) {
        match self.predicted.binary_search(&class) {
            Ok(at) => self.counts[at] += count,
            Err(at) => {
                self.predicted.insert(at, class);
                self.counts.insert(at, count);
            }
        }
    }

    fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            predicted: self.predicted.to_copy()?,
            counts: self.counts.to_copy()?,
        })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Dense and sparse sizes, and pairs of few classes, so that cells repeat.
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

    proptest! {
        #[test]
        fn cells_are_put_between_the_others(
            parts in prop::collection::vec(prop::collection::btree_map(0u64..40, 1i64..5, 0..20), 1..6),
        ) {
            let (mut row, mut wanted) = (Row::default(), BTreeMap::new());
            for part in parts {
                let cells: Vec<(u64, i64)> = part.into_iter().collect();
                row.reserve(cells.len()).unwrap();
                row.add(&cells);
                for (class, count) in cells {
                    *wanted.entry(class as u32).or_insert(0) += count;
                }
            }
            prop_assert_eq!(row.cells().collect::<Vec<_>>(), wanted.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn many_rows_are_counted_in_parts() {
        for classes in [3, DENSE_CLASSES + 1] {
            let target: Vec<i64> = (0..LISTED as i64 + 5).map(|at| at % 3).collect();
            let predicted: Vec<i64> = target.iter().map(|class| 2 - class).collect();
            let mut counts = ConfusionCounts::new(classes).unwrap();
            counts.update(&[1], &[1]).unwrap();
            counts.update(&target, &predicted).unwrap();
            counts
                .merge(&target, &predicted, &vec![2; target.len()])
                .unwrap();
            let of = |class| 3 * target.iter().filter(|&&t| t == class).count() as i64;
            assert_eq!(counts.entries().unwrap().count, [of(0), of(1) + 1, of(2)]);
            assert_eq!(counts.total(), 3 * target.len() as i64 + 1);
        }
    }

    #[test]
    fn nothing_is_counted_after_an_interrupt() {
        use crate::interrupt::during;
        let rows = vec![0; LISTED + 1];
        let mut counts = ConfusionCounts::new(3).unwrap();
        let outcome = during(|| Err(Error::Interrupted), || counts.update(&rows, &rows));
        assert_eq!(outcome, Err(Error::Interrupted));
        assert_eq!(counts, ConfusionCounts::new(3).unwrap());
    }

    #[test]
    fn sums_end_at_the_bound() {
        for classes in [3, DENSE_CLASSES + 1] {
            let mut counts = ConfusionCounts::new(classes).unwrap();
            counts.merge(&[0, 0], &[1, 1], &[i64::MAX - 2, 1]).unwrap();
            counts.update(&[2], &[2]).unwrap();
            assert_eq!(counts.total(), i64::MAX);
            let before = counts.try_clone().unwrap();
            assert!(message(counts.update(&[0], &[1])).contains("less than 2**63"));
            assert!(message(counts.merge(&[1], &[0], &[1])).contains("less than 2**63"));
            assert_eq!(counts, before);
            counts.merge(&[1], &[0], &[0]).unwrap();
            assert_eq!(counts, before);
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
        let before = counts.try_clone().unwrap();
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
