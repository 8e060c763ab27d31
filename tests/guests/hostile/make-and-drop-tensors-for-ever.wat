;; expect: 504 plugin-deadline deadline
;; world: import wasi:nn/tensor@0.2.0-rc-2024-10-28; export run: func();
(module
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[constructor]tensor" (func $new (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[resource-drop]tensor" (func $drop (param i32)))
  (memory (export "memory") 100)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (data (i32.const 0) "\00\00\40\00")
  (func (export "run") (loop $l
    (call $drop (call $new (i32.const 0) (i32.const 1) (i32.const 4) (i32.const 16) (i32.const 0x400000))) (br $l))))
