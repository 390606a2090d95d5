//! Batches of P classes with K samples each (PK batches).

use std::sync::Mutex;

use super::Draws;
use super::class_balanced::Class;
use crate::counts::{ClassTable, check_classes};
use crate::error::{Error, Result, collected, filled};
use crate::interrupt::{PIECE, Pace};
use crate::permutation::{QuickPermutation, Shape, shuffle_many, shuffle_step};
use crate::rng::{Stream, stream};
use crate::source::Source;

/// Up to this many samples a class is shuffled in memory; a larger class uses a keyed permutation, because a seek has
/// to wait for the shuffles of its classes.
const SHUFFLED: u32 = 1 << 12;

/// `m` samples of each of `classes_per_batch` distinct classes.
///
/// Classes come in passes, each a shuffle of all of them; classes that do not fill a batch at the end of a pass are
/// dropped from it. The samples of a class come in cycles, each with its own order: `floor(n / m)` groups of `m`
/// distinct samples, one group per pass. A class with fewer than `m` samples repeats them as evenly as possible: a
/// group is `ceil(m / n)` cycles, the last one cut. Pass, cycle and index follow from the position; the orders used
/// last are cached.
pub struct MPerClass {
    table: ClassTable,
    /// The classes with samples.
    classes: Vec<Member>,
    m: u64,
    classes_per_batch: u64,
    draws_per_epoch: u64,
    seed: u64,
    /// Orders of the last draws, a cache that never changes a result.
    kept: Mutex<Option<Kept>>,
}

/// A class and the stream of the keys of its cycles.
struct Member {
    class: Class,
    orders: Stream,
}

impl MPerClass {
    /// Batches over `labels`.
    ///
    /// # Errors
    /// If a label is outside `0..num_classes`, a number is 0, or fewer than `classes_per_batch` classes have samples.
    pub fn new(
        labels: &(impl Source<u32> + ?Sized),
        num_classes: usize,
        m: u64,
        classes_per_batch: u64,
        draws_per_epoch: u64,
        seed: u64,
    ) -> Result<Self> {
        check_classes(num_classes)?;
        let table = ClassTable::new(labels, num_classes)?;
        let member = |label| Member {
            class: Class::of(&table, label),
            orders: Stream::new(seed, stream::WITHIN_CLASS, label as u64),
        };
        let present = (0..num_classes).filter(|&label| table.extent(label).1 > 0);
        let classes: Vec<Member> = collected(num_classes, present.map(member))?;
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

    /// Groups per pass.
    fn per_pass(&self) -> u64 {
        self.classes.len() as u64 / self.classes_per_batch * self.classes_per_batch
    }

    fn nothing_kept(&self) -> Result<Kept> {
        let classes = self.classes.len();
        Ok(Kept {
            pass: u64::MAX,
            turns: collected(classes, 0..classes as u32)?,
            places: collected(classes, self.classes.iter().map(Place::before))?,
            orders: filled(self.table.samples().len(), &0)?,
        })
    }

    /// Write entries `from..from + out.len()` of the group that class number `at` has in pass `pass`.
    fn write_group(&self, kept: &mut Kept, at: usize, pass: u64, from: u64, out: &mut [i64]) {
        let len = u64::from(self.classes[at].class.len);
        if len >= self.m {
            let groups = len / self.m;
            let index = pass % groups * self.m + from;
            self.write_run(kept, at, pass / groups, index, out);
            return;
        }
        let (mut cycle, mut index) = (pass * self.m.div_ceil(len) + from / len, from % len);
        let mut rest = out;
        while !rest.is_empty() {
            let (run, after) = rest.split_at_mut(rest.len().min((len - index) as usize));
            self.write_run(kept, at, cycle, index, run);
            (rest, cycle, index) = (after, cycle + 1, 0);
        }
    }

    /// Write the samples `index..index + out.len()` of one cycle through class number `at`.
    fn write_run(&self, kept: &mut Kept, at: usize, cycle: u64, index: u64, out: &mut [i64]) {
        let Member { class, orders } = &self.classes[at];
        let samples = &self.table.samples()[class.range()];
        if class.len > SHUFFLED {
            let order = QuickPermutation::new(Shape::new(u64::from(class.len)), orders.sub(cycle));
            order.fill(index, out);
            for slot in out {
                *slot = i64::from(samples[*slot as usize]);
            }
            return;
        }
        let (place, order) = (&mut kept.places[at], &mut kept.orders[class.range()]);
        if place.cycle != Some(cycle) {
            order.copy_from_slice(samples);
            *place = Place {
                cycle: Some(cycle),
                stream: orders.sub(cycle),
                shuffled: 0,
            };
        }
        let end = index as usize + out.len();
        while place.shuffled < end {
            shuffle_step(place.stream, order, place.shuffled);
            place.shuffled += 1;
        }
        let run = &order[index as usize..end];
        out.iter_mut()
            .zip(run)
            .for_each(|(slot, &sample)| *slot = i64::from(sample));
    }
}

/// The orders used last.
struct Kept {
    /// The pass that `turns` belongs to.
    pass: u64,
    /// Positions in `MPerClass::classes`, in the order of the pass.
    turns: Vec<u32>,
    /// Progress of each class.
    places: Vec<Place>,
    /// The samples of the table, each class in the order of its cycle as far as that has been shuffled.
    orders: Vec<u32>,
}

/// How far the order of a class has been shuffled.
#[derive(Clone, Copy)]
struct Place {
    /// None before the first cycle.
    cycle: Option<u64>,
    stream: Stream,
    shuffled: usize,
}

impl Place {
    fn before(member: &Member) -> Self {
        Self {
            cycle: None,
            stream: member.orders,
            shuffled: 0,
        }
    }
}

impl Kept {
    fn turn_to(&mut self, seed: u64, pass: u64) -> Result<()> {
        if self.pass == pass {
            return Ok(());
        }
        self.pass = pass;
        (0..).zip(&mut self.turns).for_each(|(at, turn)| *turn = at);
        let order = Stream::new(seed, stream::CLASS_ORDER, pass);
        shuffle_many(order, &mut self.turns)
    }
}

impl Draws for MPerClass {
    fn draws_per_epoch(&self) -> u64 {
        self.draws_per_epoch
    }

    fn fill(&self, epoch: u64, start: u64, out: &mut [i64]) -> Result<()> {
        let position = epoch * self.draws_per_epoch + start;
        let (number, mut from) = (position / self.m, position % self.m);
        let (mut pass, mut turn) = (number / self.per_pass(), number % self.per_pass());
        // If the lock is taken (by another thread, or by the parent of a fork) only the cache is lost.
        let mut lock = self.kept.try_lock().ok();
        let last = lock.as_mut().and_then(|kept| kept.take());
        let mut kept = match last {
            Some(last) => last,
            None => self.nothing_kept()?,
        };
        let (mut rest, mut pace) = (out, Pace::default());
        while !rest.is_empty() {
            let len = (self.m - from).min(rest.len() as u64).min(PIECE as u64);
            let (group, after) = rest.split_at_mut(len as usize);
            kept.turn_to(self.seed, pass)?;
            let at = kept.turns[turn as usize] as usize;
            self.write_group(&mut kept, at, pass, from, group);
            pace.step(group.len())?;
            (rest, from) = (after, from + len);
            if from < self.m {
                continue; // a piece of a large group, or the last one
            }
            (from, turn) = (0, turn + 1);
            if turn == self.per_pass() {
                (pass, turn) = (pass + 1, 0);
            }
        }
        if let Some(lock) = lock.as_mut() {
            **lock = Some(kept);
        }
        Ok(())
    }
}
