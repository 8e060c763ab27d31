;; expect: refused deadline
;; Waits for an hour.
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $outer)) (export "pollable" (type $p (eq $outer)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core module $m
    (import "h" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "h" "block" (func $block (param i32)))
    (func $s (call $block (call $subscribe (i64.const 3600000000000))))
    (start $s) (func (export "run")))
  (core instance $i (instantiate $m (with "h" (instance
    (export "subscribe" (func $subscribe)) (export "block" (func $block))))))
  (func (export "run") (canon lift (core func $i "run"))))
