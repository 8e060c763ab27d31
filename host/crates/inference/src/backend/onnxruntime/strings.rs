//! Tensors of byte strings, with any lengths and bytes. `ort` supports only UTF-8 strings without zero bytes; the library supports any.

use std::ffi::c_char;
use std::ptr;

use bytes::Bytes;
use ort::AsPointer as _;
use ort::value::DynValue;

use super::failed;
use crate::backend::BackendError;
use hospes_core::tensor::{Tensor, pack_strings};

/// Converts a tensor of byte strings to the library's tensor.
pub(super) fn input(tensor: &Tensor) -> Result<ort::value::Tensor<String>, BackendError> {
    let empty = vec![""; tensor.strings().count()];
    let made = ort::value::Tensor::from_string_array((tensor.shape(), empty.as_slice()));
    let mut value = made.map_err(failed)?;
    let pointer = value.ptr_mut();
    for (index, string) in tensor.strings().enumerate().filter(|(_, string)| !string.is_empty()) {
        let mut buffer: *mut c_char = ptr::null_mut();
        let get = ort::api().GetResizedStringTensorElementBuffer;
        // SAFETY: `pointer` is a tensor of strings that lives until the end of this function, and `index` is one of its elements.
        let status = unsafe { get(pointer, index, string.len(), &raw mut buffer) };
        // SAFETY: the library has just returned `status`, and nothing else owns it.
        unsafe { ort::Error::result_from_status(status) }.map_err(failed::<()>)?;
        if buffer.is_null() {
            return Err(BackendError::Failed("the library has no room for a string".into()));
        }
        // SAFETY: the library has allocated `buffer` with `string.len()` bytes, and does not use it meanwhile.
        unsafe { ptr::copy_nonoverlapping(string.as_ptr(), buffer.cast(), string.len()) };
    }
    Ok(value)
}

/// The `count` elements of the library's tensor of strings, as a tensor's data.
pub(super) fn output(value: &DynValue, count: usize) -> Result<Bytes, BackendError> {
    let (pointer, mut bytes) = (value.ptr(), 0);
    let length = ort::api().GetStringTensorDataLength;
    // SAFETY: `pointer` is a value that outlives this function. The library returns an error if it is not a tensor of strings.
    let status = unsafe { length(pointer, &raw mut bytes) };
    // SAFETY: the library has just returned `status`, and nothing else owns it.
    unsafe { ort::Error::result_from_status(status) }.map_err(failed::<()>)?;
    let (mut content, mut offsets) = (vec![0_u8; bytes], vec![0_usize; count]);
    let get = ort::api().GetStringTensorContent;
    let (to, starts) = (content.as_mut_ptr().cast(), offsets.as_mut_ptr());
    // SAFETY: as above. The library writes at most the lengths that it gets, which are the lengths of the two vectors.
    let status = unsafe { get(pointer, to, bytes, starts, count) };
    // SAFETY: the library has just returned `status`, and nothing else owns it.
    unsafe { ort::Error::result_from_status(status) }.map_err(failed::<()>)?;
    offsets.push(bytes);
    let strings: Option<Vec<&[u8]>> =
        offsets.windows(2).map(|pair| content.get(*pair.first()?..*pair.get(1)?)).collect();
    let strings = strings
        .ok_or_else(|| BackendError::Failed("the library's strings are not contiguous".into()))?;
    pack_strings(strings)
        .ok_or_else(|| BackendError::Failed("a string of an output is longer than 4 GiB".into()))
}
