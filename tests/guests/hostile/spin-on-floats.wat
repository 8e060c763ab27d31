;; expect: 504 plugin-deadline deadline
;; Subnormal numbers, which are slow.
(module (func (export "run") (local $x f64)
  (local.set $x (f64.const 0x1p-1060))
  (loop $l (local.set $x (f64.add (f64.mul (local.get $x) (f64.const 0.9999999)) (f64.const 0x1p-1070))) (br $l))))
