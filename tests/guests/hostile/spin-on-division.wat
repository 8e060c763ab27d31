;; expect: 504 plugin-deadline deadline
(module (func (export "run") (local $x i64)
  (local.set $x (i64.const -1))
  (loop $l (local.set $x (i64.or (i64.div_u (i64.const -1) (local.get $x)) (i64.const 1))) (br $l))))
