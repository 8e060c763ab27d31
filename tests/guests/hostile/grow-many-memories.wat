;; expect: refused exceeds the per-instance limit
;; Each of the four memories is below the limit, but their sum is not.
(module
  (memory $a (export "memory") 1) (memory $b 1) (memory $c 1) (memory $d 1)
  (func (export "run")
    (if (i32.eq (memory.grow $a (i32.const 2000)) (i32.const -1)) (then unreachable))
    (if (i32.eq (memory.grow $b (i32.const 2000)) (i32.const -1)) (then unreachable))
    (if (i32.eq (memory.grow $c (i32.const 2000)) (i32.const -1)) (then unreachable))
    (if (i32.eq (memory.grow $d (i32.const 2000)) (i32.const -1)) (then unreachable))))
