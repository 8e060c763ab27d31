;; expect: answers
;; The clock does not advance during the start function.
(component
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
  (core func $now (canon lower (func $clock "now")))
  (core module $m (import "c" "now" (func $now (result i64)))
    (func $s (if (i64.ne (call $now) (i64.const 0)) (then unreachable)))
    (start $s)
    (func (export "run") (if (i64.eqz (call $now)) (then unreachable))))
  (core instance $i (instantiate $m (with "c" (instance (export "now" (func $now))))))
  (func (export "run") (canon lift (core func $i "run"))))
