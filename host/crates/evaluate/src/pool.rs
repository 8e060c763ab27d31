//! Pooling: one vector of a row for those of its tokens, as users of a text encoder make it from what the model answers.

/// The input that says which tokens of a row are text (1) and which only fill it up (0).
pub const ATTENTION_MASK: &str = "attention_mask";

/// How the vectors of a row's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Their mean, over the tokens that the mask has.
    Mean,
    /// That of the first token.
    Cls,
}

/// Why vectors of tokens cannot be pooled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    #[error(
        "output `{name}` has shape {shape:?} for a row, and only vectors of tokens, [tokens, width], can be pooled: leave `--pool` out"
    )]
    Shape { name: String, shape: Vec<usize> },
    #[error(
        "the rows have no `{ATTENTION_MASK}`, over which `--pool mean` takes the mean: add it to the data, as the tokenizer gives it"
    )]
    NoMask,
    #[error("`{ATTENTION_MASK}` has {mask} elements, and the rows have {tokens} tokens")]
    Size { mask: usize, tokens: usize },
    #[error("row {row}: `{ATTENTION_MASK}` holds {value}, and a mask holds 0 and 1")]
    Value { row: usize, value: String },
    #[error("row {row}: `{ATTENTION_MASK}` has no token: leave the row out")]
    Empty { row: usize },
}

impl Pool {
    /// The one that the command line calls so.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "mean" => Some(Self::Mean),
            "cls" => Some(Self::Cls),
            _ => None,
        }
    }

    /// One vector of each row, of rows of so many tokens with so many numbers each. Neither is 0.
    ///
    /// # Errors
    /// [`PoolError`] if there is no mask that fits, and one is needed.
    pub(crate) fn vectors(
        self,
        numbers: &[f64],
        (tokens, width): (usize, usize),
        mask: Option<&[f64]>,
    ) -> Result<Vec<Vec<f32>>, PoolError> {
        let rows = numbers.chunks(tokens * width);
        if self == Self::Cls {
            return Ok(rows.map(|row| floats(row[..width].iter().copied())).collect());
        }
        let mask = mask.ok_or(PoolError::NoMask)?;
        let all = numbers.len() / width;
        if mask.len() != all {
            return Err(PoolError::Size { mask: mask.len(), tokens: all });
        }
        let masked = rows.zip(mask.chunks(tokens)).enumerate();
        masked.map(|(row, (numbers, mask))| mean(row + 1, numbers, width, mask)).collect()
    }
}

/// The mean of the vectors of a row's tokens.
fn mean(row: usize, numbers: &[f64], width: usize, mask: &[f64]) -> Result<Vec<f32>, PoolError> {
    let (mut sums, mut count) = (vec![0.0; width], 0_u32);
    for (vector, mask) in numbers.chunks(width).zip(mask) {
        match *mask {
            0.0 => {}
            1.0 => {
                count += 1;
                sums.iter_mut().zip(vector).for_each(|(sum, number)| *sum += number);
            }
            // Such as a mask that is added to scores, where 0 means that a token counts.
            other => return Err(PoolError::Value { row, value: other.to_string() }),
        }
    }
    if count == 0 {
        return Err(PoolError::Empty { row });
    }
    Ok(floats(sums.into_iter().map(|sum| sum / f64::from(count))))
}

fn floats(numbers: impl Iterator<Item = f64>) -> Vec<f32> {
    numbers.map(|number| number as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of three tokens with two numbers each. What fills the rows up is far from the text.
    const NUMBERS: [f64; 12] = [1.0, 2.0, 3.0, 6.0, 90.0, -90.0, 5.0, -1.0, 90.0, 90.0, 70.0, 70.0];
    const MASK: [f64; 6] = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0];

    fn mean(mask: Option<&[f64]>) -> Result<Vec<Vec<f32>>, PoolError> {
        Pool::Mean.vectors(&NUMBERS, (3, 2), mask)
    }

    #[test]
    fn the_mean_is_that_of_the_tokens_that_the_mask_has() {
        assert_eq!(mean(Some(&MASK)), Ok(vec![vec![2.0, 4.0], vec![5.0, -1.0]]));
    }

    #[test]
    fn the_first_token_needs_no_mask() {
        let first = Pool::Cls.vectors(&NUMBERS, (3, 2), None);
        assert_eq!(first, Ok(vec![vec![1.0, 2.0], vec![5.0, -1.0]]));
    }

    #[test]
    fn a_mask_that_does_not_fit_is_refused() {
        assert_eq!(mean(None), Err(PoolError::NoMask));
        assert_eq!(mean(Some(&MASK[1..])), Err(PoolError::Size { mask: 5, tokens: 6 }));
        let with = |at: usize, value: f64| {
            let mut mask = MASK;
            mask[at] = value;
            mean(Some(&mask))
        };
        assert_eq!(with(3, 0.0), Err(PoolError::Empty { row: 2 }));
        assert_eq!(with(5, -1e4), Err(PoolError::Value { row: 2, value: "-10000".into() }));
        assert!(matches!(with(0, f64::NAN), Err(PoolError::Value { row: 1, .. })));
    }
}
