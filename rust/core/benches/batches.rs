//! The pass over a batch next to bare writes of the same bytes: nanoseconds per image of 32 x 32 x 3.
//!
//! `cargo bench -p lt-fast-core --bench batches` prints CSV. "write" fills the batch's memory with a number and "copy"
//! copies a batch that is there: no pass can be faster than the first. Images are at random rows of 10,000, and the
//! memory of the batch is reused, as a loader does it. Best of 200 batches. One thread.

use std::hint::black_box;
use std::time::Instant;

use lt_fast_core::batch::{
    Batch, Images, Layout, Mix, Normalization, Output, Placement, Shape, fill_batch, placements,
};
use lt_fast_core::error::Result;
use lt_fast_core::rng::Stream;

const SHAPE: Shape = Shape {
    height: 32,
    width: 32,
    channels: 3,
};
const IMAGES: usize = 10_000;
const BATCHES: [usize; 2] = [128, 512];
const RUNS: usize = 200;
const PADDING: u64 = 4;

fn main() -> Result<()> {
    println!("batch,what,ns per image");
    let noise = Stream::new(0, 0, 0);
    let size = (IMAGES * SHAPE.size()) as u64;
    let pixels: Vec<u8> = (0..size).map(|at| noise.bits(at) as u8).collect();
    for count in BATCHES {
        let mut out = vec![0.0_f32; count * SHAPE.size()];
        bare(count, &mut out);
        passes(count, Images::new(&pixels, SHAPE)?, &mut out)?;
    }
    Ok(())
}

/// Print the least that a call costs for an image of its batch.
fn report(what: &str, count: usize, mut call: impl FnMut(usize)) {
    let time = |run| {
        let start = Instant::now();
        call(run);
        start.elapsed().as_secs_f64()
    };
    let best = (0..RUNS).map(time).fold(f64::INFINITY, f64::min);
    println!(r#"{count},"{what}",{:.0}"#, best / count as f64 * 1e9);
}

fn bare(count: usize, out: &mut [f32]) {
    report("write", count, |run| {
        out.fill(black_box(run as f32));
        black_box(&mut *out);
    });
    let other = out.to_vec();
    report("copy", count, |_| {
        out.copy_from_slice(black_box(&other));
        black_box(&mut *out);
    });
}

fn passes(count: usize, images: Images<'_>, out: &mut [f32]) -> Result<()> {
    let normalization = Normalization::new(&[0.4914, 0.4822, 0.4465], &[0.2023, 0.1994, 0.2010])?;
    let drawn = Drawn::new(count)?;
    let order: Vec<Option<u32>> = drawn.order.iter().map(|&at| Some(at as u32)).collect();
    let lam: Vec<f32> = (0..count).map(|at| at as f32 / count as f32).collect();
    let boxes = vec![[4, 8, 20, 24]; count];
    for (what, mixed, boxed, within) in [
        ("normalise", false, None, &[][..]),
        ("blend, normalise", true, None, &order),
        ("paste, normalise", true, Some(&boxes[..]), &order),
        ("blend with others, normalise", true, None, &[]),
    ] {
        report(&format!("crop, flip, {what}"), count, |run| {
            let (indices, own) = drawn.of(run);
            let pick = |of: &[i64]| drawn.order.iter().map(|&at| of[at]).collect::<Vec<_>>();
            let partner = pick(indices);
            let theirs: Vec<Placement> = drawn.order.iter().map(|&at| own[at]).collect();
            let mix = Mix {
                partner: &partner,
                placements: &theirs,
                lam: &lam,
                boxes: boxed,
                within,
            };
            let batch = Batch {
                images,
                indices,
                placements: own,
                policy: None,
                mix: mixed.then_some(mix),
                normalization: &normalization,
                layout: Layout::Planes,
            };
            black_box(fill_batch(batch, Output::Float32(out)).is_ok());
            black_box(&mut *out);
        });
    }
    Ok(())
}

/// Rows and placements of all runs, and the order of the partners in a batch.
struct Drawn {
    rows: Vec<i64>,
    placed: Vec<Placement>,
    order: Vec<usize>,
}

impl Drawn {
    fn new(count: usize) -> Result<Self> {
        let noise = Stream::new(1, 0, 0);
        let positions: Vec<i64> = (0..(RUNS * count) as i64).collect();
        let row = |&at: &i64| noise.below(at as u64, IMAGES as u64) as i64;
        Ok(Self {
            rows: positions.iter().map(row).collect(),
            placed: placements(0, 0, 0, &positions, PADDING, true)?,
            order: (0..count).map(|at| (37 * at + 11) % count).collect(),
        })
    }

    fn of(&self, run: usize) -> (&[i64], &[Placement]) {
        let part = run * self.order.len()..(run + 1) * self.order.len();
        (&self.rows[part.clone()], &self.placed[part])
    }
}
