;; world: export run: func();
;; Takes all the memory it can get, and writes to it.
(module
  (memory (export "memory") 1)
  (func (export "run")
    (loop $again
      (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
      (i32.store8 (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1)) (i32.const 1))
      (br $again))))
