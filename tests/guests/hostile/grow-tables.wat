;; expect: 502 plugin-failed table-limit
(module (table $t 1 funcref)
  (func (export "run")
    (loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
    unreachable))
