//! How long a model takes, by the shapes of its inputs. The time for other shapes can be very different, because a model may repeatedly
//! square the length of its input.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use hospes_admission::Estimate;
use hospes_core::tensor::Tensor;

/// Kinds of shapes whose times are remembered. The one that was used longest ago makes room.
const KINDS_MAX: usize = 16;

/// The times of one model.
#[derive(Default)]
pub(super) struct Paces {
    /// The latest last.
    kinds: Mutex<Vec<(u64, Arc<Estimate>)>>,
    hasher: RandomState,
}

impl Paces {
    /// The times of inputs of these shapes.
    pub(super) fn of(&self, inputs: &[Option<Tensor>]) -> Arc<Estimate> {
        let key = self.key(inputs);
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((latest, estimate)) = kinds.last()
            && *latest == key
        {
            return Arc::clone(estimate);
        }
        let kind = match kinds.iter().position(|(known, _)| *known == key) {
            Some(place) => kinds.remove(place),
            None => {
                if kinds.len() >= KINDS_MAX {
                    kinds.remove(0);
                }
                (key, Arc::default())
            }
        };
        let estimate = Arc::clone(&kind.1);
        kinds.push(kind);
        estimate
    }

    fn key(&self, inputs: &[Option<Tensor>]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for tensor in inputs {
            // Byte strings of the same shape may have different lengths.
            let known = tensor.as_ref().map(|tensor| (tensor.shape(), tensor.data().len()));
            known.hash(&mut hasher);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use hospes_core::tensor::DataType;

    fn bytes(count: usize) -> Vec<Option<Tensor>> {
        let data = vec![0; count];
        vec![Some(Tensor::new(DataType::U8, vec![count], data.into()).expect("fits"))]
    }

    #[test]
    fn each_kind_of_shapes_has_its_own_times_and_the_oldest_makes_room() {
        let paces = Paces::default();
        for _ in 0..100 {
            paces.of(&bytes(1)).learn(Duration::from_micros(1));
            paces.of(&bytes(2)).learn(Duration::from_secs(1));
        }
        let nanos = |count| paces.of(&bytes(count)).took().map(|took| took.mean_nanos);
        assert_eq!((nanos(1), nanos(2)), (Some(1_000), Some(1_000_000_000)));
        assert_eq!(nanos(3), None);
        for count in 4..=KINDS_MAX + 2 {
            assert_eq!((nanos(count), nanos(2)), (None, Some(1_000_000_000)));
        }
        assert_eq!(nanos(1), None, "it was used longest ago");
        assert_eq!(paces.kinds.lock().expect("whole").len(), KINDS_MAX);
    }
}
