;; expect: answers
;; The random numbers of a start function are always the same, so it cannot fail in a call if it succeeded at publishing.
(component
  (import "wasi:random/insecure@0.2.0" (instance $random (export "get-insecure-random-u64" (func (result u64)))))
  (core func $u64 (canon lower (func $random "get-insecure-random-u64")))
  (core module $m (import "r" "u64" (func $u64 (result i64)))
    (global $seen (mut i64) (i64.const 0))
    (func $s (global.set $seen (call $u64))
      (if (i64.ne (global.get $seen) (i64.const 0x0001020304050607)) (then unreachable)))
    (start $s)
    (func (export "run") (if (i64.eq (call $u64) (global.get $seen)) (then unreachable))))
  (core instance $i (instantiate $m (with "r" (instance (export "u64" (func $u64))))))
  (func (export "run") (canon lift (core func $i "run"))))
