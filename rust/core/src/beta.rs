//! Beta variates with random access: the mixing coefficients of mixup.

use crate::error::{Error, Result};
use crate::rng::{Stream, collect};

/// A validated Beta(a, b) distribution.
#[derive(Debug, Clone, Copy)]
pub struct Beta {
    a: f64,
    b: f64,
}

impl Beta {
    /// Beta(a, b).
    ///
    /// # Errors
    /// If `a` or `b` is not finite and positive.
    pub fn new(a: f64, b: f64) -> Result<Self> {
        for (name, value) in [("alpha", a), ("beta", b)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::Value(format!(
                    "{name} must be finite and > 0, got {value}"
                )));
            }
        }
        Ok(Self { a, b })
    }

    /// Draw number `position` of `stream`, in [0, 1].
    ///
    /// Beta(1, 1) is the uniform draw itself. Otherwise it is the ratio of two gamma variates, computed from their
    /// logarithms, so that a tiny parameter gives 0 or 1 and never 0/0. The rejection loop reads the position's own
    /// sub-stream, so a draw depends on (stream, position) alone. The last bit may differ between machines whose `ln`
    /// and `exp` differ.
    #[must_use]
    #[expect(clippy::float_cmp, reason = "the shortcut is for exactly (1, 1)")]
    pub fn draw(self, stream: Stream, position: u64) -> f64 {
        if self.a == 1.0 && self.b == 1.0 {
            return stream.uniform(position);
        }
        let own = stream.sub(position);
        let difference =
            log_gamma_variate(self.b, own.sub(1)) - log_gamma_variate(self.a, own.sub(0));
        // Both logarithms can be -inf when the parameters are below 1e-300: then 0 and 1 are equally likely.
        if difference.is_nan() {
            f64::from(u8::from(own.bits(0) >> 63 == 1))
        } else {
            1.0 / (1.0 + difference.exp())
        }
    }

    /// Draws `start..start + n` of `stream`.
    ///
    /// # Errors
    /// If the positions exceed 2^64 or the result does not fit into memory.
    pub fn draws(self, stream: Stream, start: u64, n: usize) -> Result<Vec<f64>> {
        collect(start, n, |position| self.draw(stream, position))
    }
}

/// Logarithm of a Gamma(shape, 1) variate.
///
/// Marsaglia, Tsang, "A simple method for generating gamma variables", TOMS 2000; below shape 1 their remark
/// `Gamma(shape) = Gamma(shape + 1) * U^(1/shape)`.
fn log_gamma_variate(shape: f64, stream: Stream) -> f64 {
    if shape < 1.0 {
        return log_gamma_variate(shape + 1.0, stream.sub(0))
            + open_uniform(stream, 0).ln() / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    let mut attempt = 0;
    loop {
        let x = normal(stream, 3 * attempt);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0
            && open_uniform(stream, 3 * attempt + 2).ln() < 0.5 * x * x + d * (1.0 - v + v.ln())
        {
            return d.ln() + v.ln();
        }
        attempt += 1;
    }
}

/// A uniform double in (0, 1): its logarithm is finite.
fn open_uniform(stream: Stream, position: u64) -> f64 {
    ((stream.bits(position) >> 12) as f64 + 0.5) * 2f64.powi(-52)
}

/// A standard normal from draws `position` and `position + 1` (Box and Muller).
fn normal(stream: Stream, position: u64) -> f64 {
    let radius = (-2.0 * open_uniform(stream, position).ln()).sqrt();
    radius * (std::f64::consts::TAU * stream.uniform(position + 1)).cos()
}
