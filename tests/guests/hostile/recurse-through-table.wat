;; expect: 502 plugin-failed stack-overflow
(module (type $f (func (result i32))) (table 1 funcref) (elem (i32.const 0) $a)
  (func $a (result i32) (i32.add (i32.const 1) (call_indirect (type $f) (i32.const 0))))
  (func (export "run") (drop (call $a))))
