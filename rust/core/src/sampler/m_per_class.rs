//! Batches of P classes with K samples each.

use std::sync::Mutex;

use super::Draws;
use crate::counts::ClassTable;
use crate::error::{Error, Result};
use crate::permutation::{Permutation, Shape, shuffle};
use crate::rng::{Stream, stream};

/// `m` samples of each of `classes_per_batch` distinct classes.
///
/// Classes come in passes, each a shuffle of all of them; what does not fill a batch at the end of a pass is left out of
/// it. The samples of a class come in cycles of `floor(n / m)` groups, each a keyed permutation cut into groups of `m`
/// distinct ones; a class with fewer than `m` repeats as evenly as it can. Pass and group follow from the position.
pub struct MPerClass {
    table: ClassTable,
    /// The classes that have samples.
    classes: Vec<u32>,
    m: u64,
    classes_per_batch: u64,
    draws_per_epoch: u64,
    seed: u64,
    /// The last pass; it never changes a result.
    kept: Mutex<Option<(u64, Vec<u32>)>>,
}

impl MPerClass {
    /// Batches over `labels`.
    ///
    /// # Errors
    /// If a label lies outside `0..num_classes`, a number is 0, or fewer than `classes_per_batch` classes have samples.
    pub fn new(
        labels: &[u32],
        num_classes: usize,
        m: u64,
        classes_per_batch: u64,
        draws_per_epoch: u64,
        seed: u64,
    ) -> Result<Self> {
        let table = ClassTable::new(labels, num_classes)?;
        let classes: Vec<u32> = (0..num_classes)
            .filter(|&class| table.extent(class).1 > 0)
            .map(|class| class as u32)
            .collect();
        let most = classes.len();
        if classes_per_batch == 0 || classes_per_batch > most as u64 {
            return Err(Error::Value(format!(
                "classes_per_batch must lie in [1, {most}], the number of classes with samples, got {classes_per_batch}"
            )));
        }
        if m == 0 || m > u64::from(u32::MAX) {
            return Err(Error::Value(format!("m must lie in [1, 2**32), got {m}")));
        }
        Ok(Self {
            table,
            classes,
            m,
            classes_per_batch,
            draws_per_epoch,
            seed,
            kept: Mutex::default(),
        })
    }

    fn order(&self, pass: u64) -> Vec<u32> {
        let mut order = self.classes.clone();
        shuffle(
            Stream::new(self.seed, stream::CLASS_ORDER, pass),
            &mut order,
        );
        order
    }

    /// Write the samples of `class` in pass `pass`, `group.len()` of them.
    fn group(&self, class: u32, pass: u64, group: &mut [i64]) {
        let (start, len) = self.table.extent(class as usize);
        let len = u64::from(len);
        let (mut cycle, mut index) = match len / self.m {
            // Whole orders, then the start of another: as even as it can be.
            0 => (pass * self.m.div_ceil(len), 0),
            groups => (pass / groups, pass % groups * self.m),
        };
        let shape = Shape::new(len);
        let mut rest = &mut *group;
        while !rest.is_empty() {
            let stream = Stream::new(self.seed, stream::WITHIN_CLASS, cycle).sub(u64::from(class));
            let written = Permutation::new(shape, stream).fill(index, rest);
            rest = &mut rest[written..];
            (cycle, index) = (cycle + 1, 0);
        }
        for slot in group {
            *slot = i64::from(self.table.samples()[start as usize + *slot as usize]);
        }
    }
}

impl Draws for MPerClass {
    fn draws_per_epoch(&self) -> u64 {
        self.draws_per_epoch
    }

    fn fill(&self, epoch: u64, start: u64, mut out: &mut [i64]) {
        let per_pass = self.classes.len() as u64 / self.classes_per_batch * self.classes_per_batch;
        let position = epoch * self.draws_per_epoch + start;
        let (mut number, mut skipped) = (position / self.m, (position % self.m) as usize);
        // A lock that is taken (another thread, or the parent of a fork) only costs the shortcut.
        let mut kept = self.kept.try_lock().ok();
        let last = kept.as_mut().and_then(|kept| kept.take());
        let (mut pass, mut order) = last.unwrap_or((u64::MAX, Vec::new()));
        let mut group = vec![0; self.m.min(self.draws_per_epoch) as usize];
        while !out.is_empty() {
            if pass != number / per_pass {
                pass = number / per_pass;
                order = self.order(pass);
            }
            self.group(order[(number % per_pass) as usize], pass, &mut group);
            let wanted = &group[skipped..];
            let len = wanted.len().min(out.len());
            out[..len].copy_from_slice(&wanted[..len]);
            out = &mut out[len..];
            (number, skipped) = (number + 1, 0);
        }
        if let Some(kept) = kept.as_mut() {
            **kept = Some((pass, order));
        }
    }
}
