;; expect: 502 plugin-failed handle-limit
;; world: import wasi:nn/graph@0.2.0-rc-2024-10-28; export run: func();
;; Each refusal is an error resource that the guest keeps.
(module (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load-by-name" (func $load (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "run") (loop $l (call $load (i32.const 0) (i32.const 1) (i32.const 64)) (br $l))))
