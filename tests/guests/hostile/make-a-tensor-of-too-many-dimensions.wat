;; expect: answers
;; world: import wasi:nn/tensor@0.2.0-rc-2024-10-28; export run: func();
;; A shape whose number of elements overflows.
(module
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[constructor]tensor" (func $new (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "run")
    (memory.fill (i32.const 0) (i32.const 255) (i32.const 4000))
    (drop (call $new (i32.const 0) (i32.const 1000) (i32.const 4) (i32.const 16) (i32.const 1)))))
