;; world: import wasi:nn/tensor@0.2.0-rc-2024-10-28; export run: func(bytes: u32);
;; Makes a tensor of `bytes` bytes, at most 12 MiB, and reads it into its memory of 26 MiB.
(module
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[constructor]tensor"
    (func $new (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.data" (func $data (param i32 i32)))
  (memory (export "memory") 416)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0xd00000))
  (func (export "run") (param $bytes i32)
    (i32.store (i32.const 0) (local.get $bytes))
    (call $data
      (call $new (i32.const 0) (i32.const 1) (i32.const 4) (i32.const 16) (local.get $bytes))
      (i32.const 8))))
