;; expect: 502 plugin-failed trap
(module (type $f (func)) (table 1 funcref) (func (export "run") (call_indirect (type $f) (i32.const -1))))
