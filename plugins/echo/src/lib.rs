//! Returns its arguments, of every type. The host's tests use it to check that nothing is lost between JSON and a guest.

#![allow(clippy::too_many_arguments, reason = "it has a function of many, to be tested")]

mod counters;

use hospes_sdk::{call, log};

hospes_sdk::plugin!("hospes:echo/echo");

/// The plugin.
struct Echo;

macro_rules! echo {
    ($($name:ident: $type:ty),* $(,)?) => {
        $(fn $name(v: $type) -> $type {
            v
        })*
    };
}

type Numbers = (Vec<i8>, Vec<u16>, Vec<i32>, Vec<u64>, Vec<f32>, Vec<f64>);
type BareResults = (Result<(), ()>, Result<u8, ()>, Result<(), i64>);

impl Guest for Echo {
    echo! {
        echo_bool: bool,
        echo_s8: i8,
        echo_u8: u8,
        echo_s16: i16,
        echo_u16: u16,
        echo_s32: i32,
        echo_u32: u32,
        echo_s64: i64,
        echo_u64: u64,
        echo_f32: f32,
        echo_f64: f64,
        echo_char: char,
        echo_string: String,
        echo_bytes: Vec<u8>,
        echo_numbers: Numbers,
        echo_strings: Vec<String>,
        echo_nested: Vec<Vec<u32>>,
        echo_point: Point,
        echo_wide: Wide,
        echo_shapes: Vec<Shape>,
        echo_shape: Shape,
        echo_color: Color,
        echo_perms: Perms,
        echo_option: Option<String>,
        echo_options: Option<Option<u8>>,
        echo_results: Vec<Result<String, u32>>,
        echo_bare_results: BareResults,
        checked: Result<u32, String>,
    }

    fn nothing() {}

    fn echo_many(
        a: u8,
        b: u16,
        c: u32,
        d: u64,
        e: f32,
        f: f64,
        g: String,
        h: String,
        i: String,
        j: String,
        k: bool,
    ) -> (u8, u16, u32, u64, f32, f64, String, String, String, String, bool) {
        (a, b, c, d, e, f, g, h, i, j, k)
    }

    fn echo_tensor(v: Tensor) -> Tensor {
        v
    }

    fn echo_labelled(v: Vec<Labelled>) -> Vec<Labelled> {
        v
    }

    fn weigh(v: &Tensor, times: u32) -> u64 {
        v.data().len() as u64 * u64::from(times)
    }

    fn misshape() -> Tensor {
        Tensor::new(&[3], hospes_sdk::bindings::wasi::nn::tensor::TensorType::U8, &[1])
    }

    fn about_call() -> About {
        let call::Terms { agreement, output_bytes_max } = call::terms();
        let deadline_ms = call::deadline().as_millis() as u64;
        About { deadline_ms, purpose: call::purpose(), agreement, output_bytes_max }
    }

    fn log_lines(lines: Vec<String>) {
        lines.iter().for_each(log::info);
    }

    fn fall(message: String) {
        panic!("{message}");
    }

    fn produce(bytes: u32) -> Vec<u8> {
        vec![b'x'; bytes as usize]
    }
}

export!(Echo);
