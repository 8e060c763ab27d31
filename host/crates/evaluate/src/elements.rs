//! Numbers as elements of tensors.

use hospes_core::tensor::DataType;

/// Numbers as elements of a type. The number that the type cannot hold is the error: a fraction or a missing value for whole numbers, or one
/// beyond its range.
pub(crate) fn elements(values: &[f64], ty: DataType) -> Result<Vec<u8>, f64> {
    let mut data = Vec::with_capacity(values.len() * ty.size().unwrap_or(1));
    for value in values {
        put(&mut data, *value, ty).ok_or(*value)?;
    }
    Ok(data)
}

fn put(data: &mut Vec<u8>, value: f64, ty: DataType) -> Option<()> {
    let whole = |low: f64, high: f64| {
        let fits = value.fract() == 0.0 && value >= low && value <= high;
        fits.then_some(value as i128)
    };
    /// The largest whole number up to which all are exact, so that none is changed unnoticed.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let (low, high, width) = match ty {
        DataType::F16 => {
            data.extend_from_slice(&half::f16::from_f64(value).to_le_bytes());
            return Some(());
        }
        DataType::Bf16 => {
            data.extend_from_slice(&half::bf16::from_f64(value).to_le_bytes());
            return Some(());
        }
        DataType::F32 => {
            data.extend_from_slice(&(value as f32).to_le_bytes());
            return Some(());
        }
        DataType::F64 => {
            data.extend_from_slice(&value.to_le_bytes());
            return Some(());
        }
        DataType::Bytes => return None,
        DataType::Bool => (0.0, 1.0, 1),
        DataType::U8 => (0.0, 255.0, 1),
        DataType::I8 => (-128.0, 127.0, 1),
        DataType::U16 => (0.0, 65_535.0, 2),
        DataType::I16 => (-32_768.0, 32_767.0, 2),
        DataType::U32 => (0.0, 4_294_967_295.0, 4),
        DataType::I32 => (-2_147_483_648.0, 2_147_483_647.0, 4),
        DataType::U64 => (0.0, EXACT, 8),
        DataType::I64 => (-EXACT, EXACT, 8),
    };
    data.extend_from_slice(&whole(low, high)?.to_le_bytes()[..width]);
    Some(())
}

#[cfg(test)]
mod tests {
    use hospes_core::tensor::Tensor;

    use super::*;

    #[test]
    fn numbers_survive_every_type_that_holds_them() {
        for ty in DataType::ALL {
            let values: &[f64] = match ty {
                DataType::Bytes => continue,
                DataType::Bool | DataType::U8 | DataType::U16 | DataType::U32 | DataType::U64 => {
                    &[0.0, 1.0]
                }
                DataType::I8 | DataType::I16 | DataType::I32 | DataType::I64 => &[-3.0, 5.0],
                _ => &[-1.5, 0.25],
            };
            let data = elements(values, ty).expect("it holds them");
            let tensor = Tensor::new(ty, vec![2], data.into()).expect("fits");
            assert_eq!(tensor.numbers().expect("numbers"), values, "{ty}");
        }
    }

    #[test]
    fn what_a_type_cannot_hold_is_named() {
        assert_eq!(elements(&[1.0, 0.5], DataType::I64), Err(0.5));
        assert_eq!(elements(&[256.0], DataType::U8), Err(256.0));
        assert_eq!(elements(&[-1.0], DataType::U64), Err(-1.0));
        assert!(elements(&[f64::NAN], DataType::I32).is_err_and(f64::is_nan));
    }
}
