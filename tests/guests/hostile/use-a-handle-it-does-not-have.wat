;; expect: 502 plugin-failed trap
;; world: import wasi:nn/tensor@0.2.0-rc-2024-10-28; export run: func();
(module (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.data" (func $data (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "run") (call $data (i32.const 12345) (i32.const 64))))
