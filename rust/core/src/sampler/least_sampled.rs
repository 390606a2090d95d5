//! Multi-label samples: always draw a sample of the class shown least so far.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;

use super::Draws;
use crate::counts::{ClassTable, LabelRows};
use crate::error::{Error, Result, collected, filled};
use crate::interrupt::poll;
use crate::rng::{Stream, stream};

/// Draws between two checks for an interrupt.
const AT_ONCE: usize = 1 << 8;

/// Each draw selects the class that the epoch has shown least (ties at random) and a random sample of it.
///
/// The counts depend on the other labels of every earlier sample, so draw `d` has no closed form: it is reached by
/// drawing all earlier draws of its epoch, each in O(labels of a sample + log C). The last position is cached.
pub struct LeastSampled {
    rows: LabelRows,
    table: ClassTable,
    draws_per_epoch: u64,
    seed: u64,
    kept: Mutex<Option<Replay>>,
}

impl LeastSampled {
    /// A sampler over the label sets `rows`; classes without samples are excluded.
    ///
    /// # Errors
    /// If no sample has a label.
    pub fn new(rows: LabelRows, draws_per_epoch: u64, seed: u64) -> Result<Self> {
        let table = rows.table()?;
        if table.samples().is_empty() {
            return Err(Error::Value(
                "indices must hold at least 1 label, got 0".into(),
            ));
        }
        Ok(Self {
            rows,
            table,
            draws_per_epoch,
            seed,
            kept: Mutex::default(),
        })
    }

    fn start(&self, epoch: u64) -> Result<Replay> {
        let order = Stream::new(self.seed, stream::CLASS_ORDER, epoch);
        let classes = self.table.num_classes();
        let present = (0..classes).filter(|&class| self.table.extent(class).1 > 0);
        let queue = present.map(|class| Reverse((0, order.bits(class as u64), class as u32)));
        Ok(Replay {
            epoch,
            position: 0,
            shown: filled(classes, &0)?,
            queue: collected(classes, queue)?.into(),
            order,
            choice: Stream::new(self.seed, stream::SAMPLER, epoch),
        })
    }
}

/// A position in an epoch: how often each class has been shown.
struct Replay {
    epoch: u64,
    position: u64,
    shown: Vec<u64>,
    /// Smallest first: (shown, tie, class). `shown` may be outdated; since counts only rise, an outdated entry surfaces
    /// early and is pushed again with its current count.
    queue: BinaryHeap<Reverse<(u64, u64, u32)>>,
    order: Stream,
    choice: Stream,
}

impl Replay {
    /// Draw up to position `start`, then write the draws from there.
    fn fill(
        &mut self,
        rows: &LabelRows,
        table: &ClassTable,
        start: u64,
        out: &mut [i64],
    ) -> Result<()> {
        while self.position < start {
            poll()?;
            for _ in 0..(start - self.position).min(AT_ONCE as u64) {
                self.next(rows, table);
            }
        }
        for piece in out.chunks_mut(AT_ONCE) {
            poll()?;
            for slot in piece {
                *slot = i64::from(self.next(rows, table));
            }
        }
        Ok(())
    }

    fn next(&mut self, rows: &LabelRows, table: &ClassTable) -> u32 {
        let class = self.least_shown();
        let (start, len) = table.extent(class as usize);
        let offset = self.choice.below(self.position, u64::from(len));
        let sample = table.samples()[start as usize + offset as usize];
        for &label in rows.labels_of(sample as usize) {
            self.shown[label as usize] += 1;
        }
        self.position += 1;
        sample
    }

    fn least_shown(&mut self) -> u32 {
        loop {
            let Some(mut top) = self.queue.peek_mut() else {
                return 0;
            };
            let Reverse((shown, _, class)) = *top;
            let now = self.shown[class as usize];
            if shown == now {
                return class;
            }
            let tie = self.order.sub(now).bits(u64::from(class));
            *top = Reverse((now, tie, class));
        }
    }
}

impl Draws for LeastSampled {
    fn draws_per_epoch(&self) -> u64 {
        self.draws_per_epoch
    }

    /// A seek makes every earlier draw.
    fn near(&self) -> u64 {
        u64::MAX
    }

    fn fill(&self, epoch: u64, start: u64, out: &mut [i64]) -> Result<()> {
        // If the lock is taken (by another thread, or by the parent of a fork) only the cache is lost.
        let mut kept = self.kept.try_lock().ok();
        let last = kept.as_mut().and_then(|kept| kept.take());
        let mut replay = match last {
            Some(last) if last.epoch == epoch && last.position <= start => last,
            _ => self.start(epoch)?,
        };
        let outcome = replay.fill(&self.rows, &self.table, start, out);
        // Also after an interrupt, so that its draws need not be made again.
        if let Some(kept) = kept.as_mut() {
            **kept = Some(replay);
        }
        outcome
    }
}
