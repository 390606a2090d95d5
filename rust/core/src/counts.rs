//! Tables of the samples of each class, built by a counting sort over the labels.

use crate::error::{Error, Result, filled, reserved};
use crate::interrupt::{PIECE, poll};
use crate::source::{Source, changed};

/// Largest number of samples in a table: an index is a `u32`.
pub const MAX_SAMPLES: usize = u32::MAX as usize;

/// Largest number of classes. A larger one is a mistake, and its table of counts would fill the memory.
pub const MAX_CLASSES: usize = 1 << 24;

/// Sample indices grouped by class (compressed rows): 4 bytes per sample, built by a counting sort in O(N + C).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassTable {
    offsets: Vec<u32>,
    samples: Vec<u32>,
}

impl ClassTable {
    /// Group the positions of `labels`, which are in `0..num_classes`. Within a class they keep their order.
    ///
    /// # Errors
    /// If a label is out of range, there is no label, or there are more than [`MAX_SAMPLES`]; if the labels change
    /// while they are read; if the table does not fit into memory.
    pub fn new(labels: &(impl Source<u32> + ?Sized), num_classes: usize) -> Result<Self> {
        if labels.is_empty() || labels.len() > MAX_SAMPLES {
            let len = labels.len();
            return Err(Error::Value(format!(
                "labels must hold 1 to 2**32 - 1 samples, got {len}"
            )));
        }
        let mut offsets = counted(labels, num_classes)?;
        let starts = copied(&offsets)?;
        let mut samples = filled(labels.len(), &0)?;
        labels.try_each(|sample, label| {
            place(&mut offsets, &mut samples, label, sample as u32).ok_or_else(|| changed("labels"))
        })?;
        close(&mut offsets, &starts).ok_or_else(|| changed("labels"))?;
        Ok(Self { offsets, samples })
    }

    /// Number of classes, empty ones included.
    #[must_use]
    pub fn num_classes(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Position of class `class` in [`ClassTable::samples`]: start and length.
    #[must_use]
    pub fn extent(&self, class: usize) -> (u32, u32) {
        let start = self.offsets[class];
        (start, self.offsets[class + 1] - start)
    }

    /// All sample indices, class after class.
    #[must_use]
    pub fn samples(&self) -> &[u32] {
        &self.samples
    }
}

/// Checked label sets of multi-label samples, as compressed rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRows {
    starts: Vec<u32>,
    labels: Vec<u32>,
    num_classes: usize,
}

impl LabelRows {
    /// Sample `i` has the labels `indices[indptr[i]..indptr[i + 1]]`, each once and in `0..num_classes`.
    ///
    /// # Errors
    /// If `indptr` does not start at 0, falls, or does not end at the number of labels; if there is no sample, or there
    /// are more than [`MAX_SAMPLES`] samples or labels; if a label is out of range or repeats within a sample.
    pub fn new(
        indptr: &(impl Source<i64> + ?Sized),
        indices: &(impl Source<u32> + ?Sized),
        num_classes: usize,
    ) -> Result<Self> {
        check_classes(num_classes)?;
        let rows = Self {
            starts: checked_rows(indptr, indices.len())?,
            labels: indices.to_copy()?,
            num_classes,
        };
        let mut last = filled(num_classes, &u32::MAX)?;
        for sample in 0..rows.len() {
            if sample.is_multiple_of(PIECE) {
                poll()?;
            }
            for &label in rows.labels_of(sample) {
                let Some(seen) = last.get_mut(label as usize) else {
                    return Err(Error::Value(format!(
                        "indices must lie in [0, {num_classes}), got {label} for sample {sample}"
                    )));
                };
                if std::mem::replace(seen, sample as u32) == sample as u32 {
                    return Err(Error::Value(format!(
                        "indices must be distinct within a sample, got {label} twice for sample {sample}"
                    )));
                }
            }
        }
        Ok(rows)
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is no sample; always false.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of sample `sample`.
    #[must_use]
    pub fn labels_of(&self, sample: usize) -> &[u32] {
        &self.labels[self.starts[sample] as usize..self.starts[sample + 1] as usize]
    }

    /// The samples of each class. A sample is in as many classes as it has labels.
    ///
    /// # Errors
    /// If the table does not fit into memory.
    pub fn table(&self) -> Result<ClassTable> {
        let mut offsets = filled(self.num_classes + 1, &0u32)?;
        for &label in &self.labels {
            offsets[label as usize] += 1;
        }
        to_starts(&mut offsets);
        let mut samples = filled(self.labels.len(), &0)?;
        for sample in 0..self.len() {
            if sample.is_multiple_of(PIECE) {
                poll()?;
            }
            for &label in self.labels_of(sample) {
                let at = &mut offsets[label as usize];
                samples[*at as usize] = sample as u32;
                *at += 1;
            }
        }
        offsets.rotate_right(1);
        offsets[0] = 0;
        Ok(ClassTable { offsets, samples })
    }
}

/// Check the number of classes against [`MAX_CLASSES`].
///
/// # Errors
/// If there are more than [`MAX_CLASSES`].
pub fn check_classes(num_classes: usize) -> Result<()> {
    if num_classes <= MAX_CLASSES {
        return Ok(());
    }
    Err(Error::Value(format!(
        "num_classes must be <= {MAX_CLASSES}, got {num_classes}"
    )))
}

fn checked_rows(indptr: &(impl Source<i64> + ?Sized), labels: usize) -> Result<Vec<u32>> {
    if indptr.len() < 2 || indptr.len() > MAX_SAMPLES || labels > MAX_SAMPLES {
        return Err(Error::Value(format!(
            "indptr must describe 1 to 2**32 - 2 samples with fewer than 2**32 labels, got {} samples and {labels} labels",
            indptr.len().saturating_sub(1)
        )));
    }
    let indptr = indptr.to_copy()?;
    let (first, last) = (indptr[0], indptr[indptr.len() - 1]);
    if first != 0 || last != labels as i64 {
        return Err(Error::Value(format!(
            "indptr must start at 0 and end at the number of indices ({labels}), got {first} and {last}"
        )));
    }
    if let Some(at) = indptr.windows(2).position(|pair| pair[1] < pair[0]) {
        return Err(Error::Value(format!(
            "indptr must not fall, got {} after {} at position {}",
            indptr[at + 1],
            indptr[at],
            at + 1
        )));
    }
    let mut starts = reserved(indptr.len())?;
    starts.extend(indptr.iter().map(|&start| start as u32));
    Ok(starts)
}

/// Start of each class, then one entry for the number of labels, which [`close`] rotates to the front.
fn counted(labels: &(impl Source<u32> + ?Sized), num_classes: usize) -> Result<Vec<u32>> {
    let mut counts = filled(num_classes.saturating_add(1), &0u32)?;
    labels.try_each(|position, label| {
        if label as usize >= num_classes {
            return Err(Error::Value(format!(
                "labels must lie in [0, {num_classes}), got {label} at position {position}"
            )));
        }
        counts[label as usize] += 1;
        Ok(())
    })?;
    to_starts(&mut counts);
    Ok(counts)
}

/// Replace counts by exclusive cumulative sums. The total is below 2^32.
fn to_starts(counts: &mut [u32]) {
    let mut start = 0;
    for count in counts {
        start += std::mem::replace(count, start);
    }
}

fn copied(values: &[u32]) -> Result<Vec<u32>> {
    let mut copy = reserved(values.len())?;
    copy.extend_from_slice(values);
    Ok(copy)
}

/// Store `sample` at `offsets[label]` and advance that offset, which moves from the start of its class to the start of
/// the next one. None if there is no such position, because the labels have changed since they were counted.
#[inline]
fn place(offsets: &mut [u32], samples: &mut [u32], label: u32, sample: u32) -> Option<()> {
    let at = offsets.get_mut(label as usize)?;
    *samples.get_mut(*at as usize)? = sample;
    *at += 1;
    Some(())
}

/// Turn the class ends that [`place`] leaves into starts. None if they differ from the next class's `starts`: the
/// labels have changed.
fn close(offsets: &mut [u32], starts: &[u32]) -> Option<()> {
    offsets.rotate_right(1);
    *offsets.first_mut()? = 0;
    (offsets == starts).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn groups_in_order() {
        let table = ClassTable::new(&[2, 0, 2, 2, 0], 4).unwrap();
        assert_eq!(table.samples(), [1, 4, 0, 2, 3]);
        let extents: Vec<_> = (0..4).map(|class| table.extent(class)).collect();
        assert_eq!(extents, [(0, 2), (2, 0), (2, 3), (5, 0)]);
    }

    #[test]
    fn refuses_labels_outside() {
        let text = ClassTable::new(&[0, 3], 3).unwrap_err().to_string();
        assert_eq!(text, "labels must lie in [0, 3), got 3 at position 1");
        let text = ClassTable::new(&[] as &[u32], 3).unwrap_err().to_string();
        assert_eq!(text, "labels must hold 1 to 2**32 - 1 samples, got 0");
    }

    /// Labels that change to `later` on the second reading.
    struct Rewritten {
        first: Vec<u32>,
        later: Vec<u32>,
        read: std::cell::Cell<usize>,
    }

    impl Source<u32> for Rewritten {
        fn len(&self) -> usize {
            self.first.len()
        }

        fn copy_to(&self, start: usize, out: &mut [u32]) {
            let labels = if self.read.get() < self.first.len() {
                &self.first
            } else {
                &self.later
            };
            self.read.set(self.read.get() + out.len());
            out.copy_from_slice(&labels[start..][..out.len()]);
        }
    }

    proptest! {
        #[test]
        fn labels_that_change_are_refused(
            first in prop::collection::vec(0u32..5, 40), later in prop::collection::vec(0u32..7, 40),
        ) {
            let count = |labels: &[u32]| (0..7).map(|c| labels.iter().filter(|&&l| l == c).count()).collect::<Vec<_>>();
            let same = count(&first) == count(&later);
            let source = Rewritten { first, later, read: 0.into() };
            let table = ClassTable::new(&source, 5);
            prop_assert_eq!(table.is_ok(), same);
            if let Err(error) = table {
                prop_assert_eq!(error, changed("labels"));
            }
        }

        #[test]
        fn every_sample_stands_once_in_its_class(labels in prop::collection::vec(0u32..9, 1..200)) {
            let table = ClassTable::new(&labels, 9).unwrap();
            let mut seen = vec![false; labels.len()];
            for class in 0..9 {
                let (start, len) = table.extent(class);
                for &sample in &table.samples()[start as usize..(start + len) as usize] {
                    prop_assert_eq!(labels[sample as usize] as usize, class);
                    prop_assert!(!std::mem::replace(&mut seen[sample as usize], true));
                }
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
        }
    }
}
