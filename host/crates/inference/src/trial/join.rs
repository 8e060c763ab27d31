//! The part of a trial that decides whether computations of a model are joined: only if that is quicker and changes no bit.

use std::time::{Duration, Instant};

use super::Candidate;
use crate::backend::Call;
use crate::batch::{Class, ROWS_MAX};
use crate::samples::element;
use hospes_core::tensor::{DataType, RANK_MAX, Tensor, count};

/// How many times as many rows a batch must compute in the same time.
const GAIN_MIN: f64 = 1.2;

/// How often each side is timed. The shortest time counts, since other load only adds.
const ROUNDS: usize = 3;

/// A model that takes longer is not measured: its trial would take long, and it gains little.
const SLOW: Duration = Duration::from_millis(250);

/// Most bytes of one row's inputs.
const ROW_BYTES_MAX: usize = 1 << 20;

/// The second size of the open dimensions that are not rows. The shapes decide which kernels compute, and so how results are rounded.
const OTHER_SIZE: usize = 16;

/// What the trial found about batches of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Joined {
    /// The bundle declares no axis for them.
    Undeclared,
    /// Whether they are worthwhile. A batch of eight computes so many times as many rows in the same time, and each row's outputs are those
    /// that it has alone.
    Measured { gain: f64 },
    /// Why there are none.
    Not(String),
}

impl Joined {
    /// Whether computations are joined.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::Measured { gain } if *gain >= GAIN_MIN)
    }
}

impl Candidate<'_> {
    /// Compares batches with single rows, and times them. `size` is that of open dimensions, with which the model takes `took`.
    pub(super) async fn join(&self, size: usize, took: Duration, until: Instant) -> Joined {
        let Some(axis) = self.axis.map(|axis| axis as usize) else { return Joined::Undeclared };
        if !self.graph.is_apart() {
            return Joined::Not("it is computed in the host's own process".into());
        }
        if took > SLOW {
            let most = SLOW.as_millis();
            return Joined::Not(format!(
                "it takes longer than the {most} ms for which it is tried"
            ));
        }
        let gain = match self.gain(axis, size, until).await {
            Ok(gain) => gain,
            Err(why) => return Joined::Not(why),
        };
        // Inputs of another size may be invalid, which says nothing of batches.
        match self.rows(axis, OTHER_SIZE) {
            Ok(rows) if size != OTHER_SIZE => match self.singles(&rows, until).await {
                Ok((singles, _)) => match self.compare(axis, (&rows, &singles), until).await {
                    Ok(()) => Joined::Measured { gain },
                    Err(why) => Joined::Not(why),
                },
                Err(_) => Joined::Measured { gain },
            },
            Ok(_) | Err(_) => Joined::Measured { gain },
        }
    }

    async fn gain(&self, axis: usize, size: usize, until: Instant) -> Result<f64, String> {
        let rows = self.rows(axis, size)?;
        let (singles, mut alone) = self.singles(&rows, until).await?;
        self.compare(axis, (&rows, &singles), until).await?;
        let all = self.joined(axis, &rows)?;
        let mut together = u64::MAX;
        for _ in 0..ROUNDS {
            alone = alone.min(self.singles(&rows, until).await?.1);
            together = together.min(self.run(all.clone(), until).await?.1);
        }
        Ok((alone as f64 / together.max(1) as f64 * 100.0).round() / 100.0)
    }

    /// The outputs of each row alone, and the computing time of all in nanoseconds.
    async fn singles(
        &self,
        rows: &[Vec<Option<Tensor>>],
        until: Instant,
    ) -> Result<(Vec<Vec<Tensor>>, u64), String> {
        let (mut outputs, mut nanos) = (Vec::new(), 0_u64);
        for row in rows {
            let (each, took) = self.run(row.clone(), until).await?;
            outputs.push(each);
            nanos = nanos.saturating_add(took);
        }
        Ok((outputs, nanos))
    }

    /// Whether batches of every size have the outputs of their rows, bit for bit.
    async fn compare(
        &self,
        axis: usize,
        (rows, singles): (&[Vec<Option<Tensor>>], &[Vec<Tensor>]),
        until: Instant,
    ) -> Result<(), String> {
        for together in 2..=rows.len() {
            // Other rows each time, so that each has had several neighbours.
            let first = rows.len() - together;
            let (outputs, _) = self.run(self.joined(axis, &rows[first..])?, until).await?;
            let (class, ..) = Class::of(axis, &rows[first]).ok_or("its inputs have no rows")?;
            let parts = class.split(&outputs, &vec![1; together]);
            let parts = parts.ok_or("its outputs have not one row for each of its inputs")?;
            if parts.as_slice() != &singles[first..] {
                return Err(format!(
                    "a batch of {together} rows has other outputs than each alone"
                ));
            }
        }
        Ok(())
    }

    fn joined(
        &self,
        axis: usize,
        rows: &[Vec<Option<Tensor>>],
    ) -> Result<Vec<Option<Tensor>>, String> {
        let first = rows.first().and_then(|row| Class::of(axis, row));
        let each: Vec<&[Option<Tensor>]> = rows.iter().map(Vec::as_slice).collect();
        let joined = first.and_then(|(class, ..)| class.join(&each));
        joined.ok_or_else(|| "its inputs cannot be joined".into())
    }

    /// Runs the model once: its outputs, and its computing time in nanoseconds.
    async fn run(
        &self,
        inputs: Vec<Option<Tensor>>,
        until: Instant,
    ) -> Result<(Vec<Tensor>, u64), String> {
        let names = self.graph.signature().required().map(|spec| spec.name.clone());
        let inputs = names.zip(inputs).filter_map(|(name, input)| Some((name, input?))).collect();
        let ran = self.graph.measure(inputs, Call::of_nobody(until));
        let (outputs, nanos) = tokio::time::timeout_at(until.into(), ran)
            .await
            .map_err(|_elapsed| super::NO_TIME.to_owned())?
            .map_err(|error| error.to_string())?;
        Ok((outputs.into_iter().map(|(_, output)| output).collect(), nanos))
    }

    /// Eight different rows, each as inputs of its own.
    fn rows(&self, axis: usize, size: usize) -> Result<Vec<Vec<Option<Tensor>>>, String> {
        let specs = self.graph.signature().required();
        let shapes = specs.map(|spec| {
            let sizes = spec.shape.as_ref().filter(|sizes| sizes.len() <= RANK_MAX);
            let rows = sizes.and_then(|sizes| sizes.get(axis));
            if rows != Some(&None) {
                let name = &spec.name;
                return Err(format!("its input `{name}` has no open dimension {axis} for rows"));
            }
            let mut shape: Vec<usize> =
                sizes.into_iter().flatten().map(|one| one.unwrap_or(size)).collect();
            shape[axis] = 1;
            Ok((spec.data_type, shape))
        });
        let shapes = shapes.collect::<Result<Vec<_>, String>>()?;
        let bytes = shapes.iter().map(|(data_type, shape)| {
            count(shape)
                .unwrap_or(usize::MAX)
                .saturating_mul(data_type.size().unwrap_or(usize::MAX))
        });
        if bytes.fold(0, usize::saturating_add) > ROW_BYTES_MAX {
            return Err(format!(
                "a row of its inputs has more than {ROW_BYTES_MAX} bytes, or texts"
            ));
        }
        let row = |number: usize| {
            let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1));
            let inputs = shapes.iter().map(|(data_type, shape)| {
                let elements = count(shape).unwrap_or(0);
                let data: Vec<u8> =
                    (0..elements).flat_map(|_| random.element(*data_type)).collect();
                let tensor = Tensor::new(*data_type, shape.clone(), data.into());
                tensor.map(Some).map_err(|error| error.to_string())
            });
            inputs.collect()
        };
        (0..ROWS_MAX).map(row).collect()
    }
}

/// A sequence of elements that differ from row to row (xorshift64).
struct Random(u64);

impl Random {
    /// A fraction from 0 to 1, or for integers one of the two.
    fn element(&mut self, data_type: DataType) -> Vec<u8> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let parts = (self.0 >> 40) as u16;
        let fraction = f64::from(parts) / f64::from(u16::MAX);
        match data_type {
            DataType::F16 => half::f16::from_f64(fraction).to_le_bytes().into(),
            DataType::Bf16 => half::bf16::from_f64(fraction).to_le_bytes().into(),
            DataType::F32 => (fraction as f32).to_le_bytes().into(),
            DataType::F64 => fraction.to_le_bytes().into(),
            integer => element(integer, i64::from(parts & 1)),
        }
    }
}
