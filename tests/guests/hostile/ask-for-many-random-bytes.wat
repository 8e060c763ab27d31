;; expect: 502 plugin-failed trap
;; Asks for 1 MiB of random bytes in one call, which nothing could interrupt.
(component
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  (core module $memory
    (memory (export "memory") 32)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8)))
  (core instance $memory (instantiate $memory))
  (core func $random (canon lower (func $random "get-random-bytes")
    (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core module $m
    (import "h" "random" (func $random (param i64 i32)))
    (func (export "run") (call $random (i64.const 1048576) (i32.const 0))))
  (core instance $i (instantiate $m (with "h" (instance (export "random" (func $random))))))
  (func (export "run") (canon lift (core func $i "run"))))
