;; world: export run: func();
;; Takes the longest table it can get.
(module
  (table $t 1 funcref)
  (func (export "run")
    (loop $again
      (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable))
      (br $again))))
