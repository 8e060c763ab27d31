//! Batches: rows of several computations of one model, computed together along its declared axis.
//!
//! What is joined here is split again by the same numbers of rows, so that each caller gets the outputs of its own rows and of no other's.

use bytes::{Bytes, BytesMut};

use hospes_core::tensor::{DataType, Tensor, count};

/// Most rows of a batch. A trial compares no more.
pub(super) const ROWS_MAX: usize = 8;

/// Most bytes of a batch's inputs: joining copies them.
pub(super) const JOINED_BYTES_MAX: usize = 16 << 20;

/// Whose rows may be in the same batch as a call's. A model sees all rows of a batch at once, and a hostile one could answer one row with
/// another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Meets {
    #[default]
    Nobody,
    /// Those of its own account.
    Own,
    /// Those of every account that permits the same.
    Others,
}

impl Meets {
    /// Whether rows of these two callers may be in one batch.
    pub(super) fn together(one: (u64, Self), other: (u64, Self)) -> bool {
        match (one.1, other.1) {
            (Self::Nobody, _) | (_, Self::Nobody) => false,
            (Self::Others, Self::Others) => true,
            (Self::Own, _) | (_, Self::Own) => one.0 == other.0,
        }
    }
}

/// What the inputs of computations have in common that can be joined: everything but the number of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    axis: usize,
    /// Of each input the type, and the sizes with zero for the rows.
    inputs: Vec<Option<(DataType, Vec<usize>)>>,
}

impl Class {
    /// The class of these inputs, their rows and their bytes. `None` if they cannot be joined with others, or are a full batch already.
    pub(super) fn of(axis: usize, inputs: &[Option<Tensor>]) -> Option<(Self, usize, usize)> {
        let (mut rows, mut bytes) = (None, 0_usize);
        let class = inputs.iter().map(|input| {
            let Some(tensor) = input else { return Some(None) };
            let mut shape = tensor.shape().to_vec();
            let own = std::mem::take(shape.get_mut(axis)?);
            // Texts have lengths of their own.
            tensor.data_type().size()?;
            bytes = bytes.saturating_add(tensor.data().len());
            (*rows.get_or_insert(own) == own).then_some(Some((tensor.data_type(), shape)))
        });
        let inputs = class.collect::<Option<Vec<_>>>()?;
        let rows = rows.filter(|rows| (1..ROWS_MAX).contains(rows))?;
        (bytes <= JOINED_BYTES_MAX).then_some((Self { axis, inputs }, rows, bytes))
    }

    /// The inputs of several computations of this class as those of one.
    pub(super) fn join(&self, each: &[&[Option<Tensor>]]) -> Option<Vec<Option<Tensor>>> {
        let join = |place: usize| {
            let Some((data_type, _)) = self.inputs.get(place)? else { return Some(None) };
            let parts = each.iter().map(|inputs| inputs.get(place)?.as_ref());
            let parts = parts.collect::<Option<Vec<&Tensor>>>()?;
            join(self.axis, *data_type, &parts).map(Some)
        };
        (0..self.inputs.len()).map(join).collect()
    }

    /// The outputs of a batch, for each computation by its number of rows. `None` if an output has not one row for each.
    pub(super) fn split(&self, outputs: &[Tensor], rows: &[usize]) -> Option<Vec<Vec<Tensor>>> {
        let mut each: Vec<Vec<Tensor>> = rows.iter().map(|_| Vec::new()).collect();
        for output in outputs {
            for (outputs, part) in each.iter_mut().zip(split(self.axis, output, rows)?) {
                outputs.push(part);
            }
        }
        Some(each)
    }
}

/// Bytes of one row of each of the runs before the axis, and the number of runs.
fn strides(axis: usize, tensor: &Tensor) -> Option<(usize, usize)> {
    let shape = tensor.shape();
    let runs = count(shape.get(..axis)?)?;
    let row = count(shape.get(axis + 1..)?)?.checked_mul(tensor.data_type().size()?)?;
    Some((row, runs))
}

fn join(axis: usize, data_type: DataType, parts: &[&Tensor]) -> Option<Tensor> {
    let first = parts.first()?;
    let mut shape = first.shape().to_vec();
    let rows = parts.iter().map(|part| part.shape().get(axis).copied());
    let rows: usize = rows.sum::<Option<usize>>()?;
    *shape.get_mut(axis)? = rows;
    let (row, runs) = strides(axis, first)?;
    let mut data = BytesMut::with_capacity(row.checked_mul(runs)?.checked_mul(rows)?);
    for run in 0..runs {
        for part in parts {
            let length = part.shape().get(axis)?.checked_mul(row)?;
            data.extend_from_slice(part.data().get(run * length..(run + 1) * length)?);
        }
    }
    Tensor::new(data_type, shape, data.freeze()).ok()
}

fn split(axis: usize, output: &Tensor, rows: &[usize]) -> Option<Vec<Tensor>> {
    let all = *output.shape().get(axis)?;
    if all != rows.iter().sum::<usize>() {
        return None;
    }
    let (row, runs) = strides(axis, output)?;
    let mut before = 0;
    let part = |rows: usize| {
        let mut shape = output.shape().to_vec();
        *shape.get_mut(axis)? = rows;
        let pieces = (0..runs).map(|run| {
            let start = (run * all + before) * row;
            output.data().get(start..start + rows * row)
        });
        let data = pieces.collect::<Option<Vec<&[u8]>>>()?.concat();
        before += rows;
        // Of its own memory: a part of the whole would keep the other callers' rows alive.
        Tensor::new(output.data_type(), shape, Bytes::from(data)).ok()
    };
    rows.iter().copied().map(part).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn tensor(shape: &[usize], from: u8) -> Tensor {
        let bytes = (0..shape.iter().product::<usize>() * 2).map(|at| from.wrapping_add(at as u8));
        let data: Vec<u8> = bytes.collect();
        Tensor::new(DataType::U16, shape.to_vec(), data.into()).expect("fits")
    }

    proptest! {
        /// A batch of the inputs, taken for its outputs, gives each its own again, along whatever axis.
        #[test]
        fn what_is_joined_comes_apart_as_it_was(
            before in vec(1..4_usize, 0..3), after in vec(1..4_usize, 0..3), rows in vec(1..4_usize, 1..6),
        ) {
            let axis = before.len();
            let parts: Vec<Vec<Option<Tensor>>> = rows.iter().enumerate().map(|(number, rows)| {
                let shape = [&before[..], &[*rows], &after].concat();
                vec![Some(tensor(&shape, number as u8 * 31)), None, Some(tensor(&shape, number as u8 * 7))]
            }).collect();
            let (class, ..) = Class::of(axis, &parts[0]).expect("can be joined");
            for (part, rows) in parts.iter().zip(&rows) {
                let (same, own, _) = Class::of(axis, part).expect("can be joined");
                prop_assert_eq!((&same, own), (&class, *rows));
            }
            let each: Vec<&[Option<Tensor>]> = parts.iter().map(Vec::as_slice).collect();
            let joined = class.join(&each).expect("fits");
            prop_assert!(joined[1].is_none());
            let outputs: Vec<Tensor> = joined.into_iter().flatten().collect();
            let apart = class.split(&outputs, &rows).expect("a row for each");
            for (part, apart) in parts.into_iter().zip(apart) {
                prop_assert_eq!(part.into_iter().flatten().collect::<Vec<_>>(), apart);
            }
            let more: Vec<usize> = rows.iter().copied().chain([1]).collect();
            prop_assert!(class.split(&outputs, &more).is_none(), "there is no such row");
        }
    }

    #[test]
    fn what_has_no_rows_or_differs_in_more_than_rows_is_not_joined() {
        let class = |inputs: &[Option<Tensor>]| Class::of(0, inputs).map(|(class, ..)| class);
        let usual = class(&[Some(tensor(&[1, 3], 0))]).expect("can be joined");
        for other in [tensor(&[1, 4], 0), tensor(&[1, 3, 1], 0), tensor(&[2], 0)] {
            assert_ne!(class(&[Some(other)]), Some(usual.clone()));
        }
        assert_ne!(class(&[Some(tensor(&[1, 3], 0)), None]), Some(usual));
        assert!(class(&[Some(tensor(&[], 0))]).is_none(), "no such axis");
        assert!(class(&[Some(tensor(&[0, 3], 0))]).is_none(), "no rows");
        assert!(class(&[Some(tensor(&[ROWS_MAX, 3], 0))]).is_none(), "a batch by itself");
        assert!(class(&[Some(tensor(&[1, 3], 0)), Some(tensor(&[2, 3], 0))]).is_none());
        assert!(class(&[None]).is_none() && class(&[]).is_none());
        let text = Tensor::new(DataType::Bytes, vec![1], Bytes::from_static(&[0; 4]));
        assert!(class(&[Some(text.expect("one text"))]).is_none());
    }

    #[test]
    fn rows_of_two_accounts_meet_only_if_both_permit_it() {
        use Meets::{Nobody, Others, Own};
        for (one, other, same, apart) in [
            (Own, Own, true, false),
            (Own, Others, true, false),
            (Others, Others, true, true),
            (Nobody, Others, false, false),
            (Nobody, Nobody, false, false),
        ] {
            for (one, other) in [(one, other), (other, one)] {
                assert_eq!(Meets::together((1, one), (1, other)), same, "{one:?} {other:?}");
                assert_eq!(Meets::together((1, one), (2, other)), apart, "{one:?} {other:?}");
            }
        }
    }
}
