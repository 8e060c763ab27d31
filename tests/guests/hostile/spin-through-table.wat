;; expect: 504 plugin-deadline deadline
(module
  (type $f (func))
  (table 2 funcref) (elem (i32.const 0) $a $b)
  (func $a) (func $b)
  (func (export "run") (local $i i32)
    (loop $l (call_indirect (type $f) (i32.and (local.get $i) (i32.const 1)))
      (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $l))))
