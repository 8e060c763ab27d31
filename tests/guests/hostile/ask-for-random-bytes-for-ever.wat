;; expect: 504 plugin-deadline deadline
(component
  (import "wasi:random/random@0.2.0" (instance $random (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  (core module $libc (memory (export "memory") 200)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
  (core instance $libc (instantiate $libc))
  (core func $bytes (canon lower (func $random "get-random-bytes") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core module $m (import "r" "bytes" (func $bytes (param i64 i32)))
    (func (export "run") (loop $l (call $bytes (i64.const 60000) (i32.const 16)) (br $l))))
  (core instance $i (instantiate $m (with "r" (instance (export "bytes" (func $bytes))))))
  (func (export "run") (canon lift (core func $i "run"))))
