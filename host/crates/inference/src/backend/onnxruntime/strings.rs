//! Tensors of byte strings, each with its own length and of any bytes. `ort` offers those that are UTF-8 without zeros; the library
//! itself takes any.

use std::ffi::c_char;
use std::ptr;

use bytes::Bytes;
use ort::AsPointer as _;
use ort::value::DynValue;

use super::failed;
use crate::backend::BackendError;
use hospes_core::tensor::{Tensor, pack_strings};

/// The library's tensor of a tensor of byte strings.
pub(super) fn input(tensor: &Tensor) -> Result<ort::value::Tensor<String>, BackendError> {
    let empty = vec![""; tensor.strings().count()];
    let made = ort::value::Tensor::from_string_array((tensor.shape(), empty.as_slice()));
    let mut value = made.map_err(failed)?;
    let pointer = value.ptr_mut();
    for (index, string) in tensor.strings().enumerate().filter(|(_, string)| !string.is_empty()) {
        let mut buffer: *mut c_char = ptr::null_mut();
        let get = ort::api().GetResizedStringTensorElementBuffer;
        // SAFETY: `pointer` is of a tensor of strings that lives until the end of this function, and `index` is one of its elements.
        let status = unsafe { get(pointer, index, string.len(), &raw mut buffer) };
        // SAFETY: `status` is what the library has just given, and nobody else has it.
        unsafe { ort::Error::result_from_status(status) }.map_err(failed::<()>)?;
        if buffer.is_null() {
            return Err(BackendError::Failed("the library has no room for a string".into()));
        }
        // SAFETY: the library gave `buffer` with room for `string.len()` bytes, which are its own, and does not use it meanwhile.
        unsafe { ptr::copy_nonoverlapping(string.as_ptr(), buffer.cast(), string.len()) };
    }
    Ok(value)
}

/// The elements of the library's tensor of strings, of which there are `count`, as a tensor's data.
pub(super) fn output(value: &DynValue, count: usize) -> Result<Bytes, BackendError> {
    let (pointer, mut bytes) = (value.ptr(), 0);
    let length = ort::api().GetStringTensorDataLength;
    // SAFETY: `pointer` is of a value that outlives this function; the library says so if it is of another kind.
    let status = unsafe { length(pointer, &raw mut bytes) };
    // SAFETY: `status` is what the library has just given, and nobody else has it.
    unsafe { ort::Error::result_from_status(status) }.map_err(failed::<()>)?;
    let (mut content, mut offsets) = (vec![0_u8; bytes], vec![0_usize; count]);
    let get = ort::api().GetStringTensorContent;
    let (to, starts) = (content.as_mut_ptr().cast(), offsets.as_mut_ptr());
    // SAFETY: as above; the library writes at most the lengths that it is given, which are those of the two vectors.
    let status = unsafe { get(pointer, to, bytes, starts, count) };
    // SAFETY: `status` is what the library has just given, and nobody else has it.
    unsafe { ort::Error::result_from_status(status) }.map_err(failed::<()>)?;
    offsets.push(bytes);
    let strings: Option<Vec<&[u8]>> =
        offsets.windows(2).map(|pair| content.get(*pair.first()?..*pair.get(1)?)).collect();
    let strings = strings
        .ok_or_else(|| BackendError::Failed("the library's strings are not contiguous".into()))?;
    pack_strings(strings)
        .ok_or_else(|| BackendError::Failed("a string of an output is longer than 4 GiB".into()))
}
