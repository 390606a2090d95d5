//! Multi-label: always a sample of the class that has been shown least.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;

use super::Draws;
use crate::counts::{ClassTable, LabelRows};
use crate::error::{Error, Result, collected, filled};
use crate::interrupt::poll;
use crate::rng::{Stream, stream};

/// Draws that are made between two questions whether to continue.
const AT_ONCE: usize = 1 << 8;

/// Each draw takes the class that the epoch has shown least (among equals, by chance) and any sample of it.
///
/// What has been shown depends on the other labels of every sample drawn so far, so there is no formula for draw `d`:
/// it is reached by drawing all before it in its epoch, O(labels of a sample + log C) each. The last place is kept.
pub struct LeastSampled {
    rows: LabelRows,
    table: ClassTable,
    draws_per_epoch: u64,
    seed: u64,
    kept: Mutex<Option<Replay>>,
}

impl LeastSampled {
    /// A sampler over the label sets `rows`; classes without samples are left out.
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

/// A place in an epoch: how often each class has been shown.
struct Replay {
    epoch: u64,
    position: u64,
    shown: Vec<u64>,
    /// Smallest first: (shown, tie, class). `shown` may lag behind, for counts only rise.
    queue: BinaryHeap<Reverse<(u64, u64, u32)>>,
    order: Stream,
    choice: Stream,
}

impl Replay {
    /// Draw on to position `start`, then write the draws from there on.
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

    /// A start is sought by making every draw before it.
    fn near(&self) -> u64 {
        u64::MAX
    }

    fn fill(&self, epoch: u64, start: u64, out: &mut [i64]) -> Result<()> {
        // A lock that is taken (another thread, or the parent of a fork) only costs the shortcut.
        let mut kept = self.kept.try_lock().ok();
        let last = kept.as_mut().and_then(|kept| kept.take());
        let mut replay = match last {
            Some(last) if last.epoch == epoch && last.position <= start => last,
            _ => self.start(epoch)?,
        };
        let outcome = replay.fill(&self.rows, &self.table, start, out);
        // Also after an interrupt: what has been drawn need not be drawn again.
        if let Some(kept) = kept.as_mut() {
            **kept = Some(replay);
        }
        outcome
    }
}
