;; world: import wasi:nn/tensor@0.2.0-rc-2024-10-28; export run: func(bytes: u32);
;; Makes tensors of `bytes` bytes each and keeps them all.
(module
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[constructor]tensor"
    (func $new (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1024)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "run") (param $bytes i32)
    (i32.store (i32.const 0) (local.get $bytes))
    (loop $again
      (drop (call $new (i32.const 0) (i32.const 1) (i32.const 4) (i32.const 16) (local.get $bytes)))
      (br $again))))
