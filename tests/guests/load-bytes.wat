;; world: import wasi:nn/graph@0.2.0-rc-2024-10-28; import wasi:nn/errors@0.2.0-rc-2024-10-28; export run: func() -> u32;
;; Passes four bytes of its own as a model to the host. Returns the error's code (`wasi:nn/errors`, from 0), or 99.
(module
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load" (func $load (param i32 i32 i32 i32 i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[method]error.code" (func $code (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "\30\00\00\00\04\00\00\00")
  (data (i32.const 48) "\08\07\12\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "run") (result i32)
    (call $load (i32.const 32) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 0))
    (if (i32.eqz (i32.load8_u (i32.const 0))) (then (return (i32.const 99))))
    (call $code (i32.load (i32.const 4)))))
