//! Policies of augmentation, made once and used for every batch.

use lt_fast_core::augment::{self, Stage, Step};
use lt_fast_core::error::{Result, reserved};
use pyo3::prelude::*;

use crate::detached::detached;

/// Operation, probability, values, whether a value is drawn between the two.
type StepArguments = (String, f64, Vec<f64>, bool);
/// Probability, whether all alternatives are applied in random order, the alternatives.
type StageArguments = (f64, bool, Vec<Vec<StepArguments>>);

/// What may happen to an image after it is cropped and flipped; immutable.
#[pyclass(frozen, module = "lt_fast._rust")]
pub struct Augmentation {
    pub core: augment::Augmentation,
}

#[pymethods]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 passes extracted arguments by value"
)]
impl Augmentation {
    #[new]
    #[pyo3(signature = (stages, fill, cutout))]
    fn new(py: Python<'_>, stages: Vec<StageArguments>, fill: u8, cutout: u32) -> PyResult<Self> {
        let core = detached(py, || {
            let mut made = reserved(stages.len())?;
            for stage in &stages {
                made.push(stage_of(stage)?);
            }
            augment::Augmentation::new(made, fill, cutout)
        })?;
        Ok(Self { core })
    }
}

fn stage_of((probability, shuffled, alternatives): &StageArguments) -> Result<Stage> {
    let mut made = reserved(alternatives.len())?;
    for steps in alternatives {
        let mut listed = reserved(steps.len())?;
        for (name, probability, values, between) in steps {
            listed.push(Step::new(name, *probability, values, *between)?);
        }
        made.push(listed);
    }
    Stage::new(*probability, *shuffled, made)
}
