;; expect: 502 plugin-failed trap
(module (type $f (func (param i64))) (table 1 funcref) (elem (i32.const 0) $g) (func $g)
  (func (export "run") (call_indirect (type $f) (i64.const 1) (i32.const 0))))
