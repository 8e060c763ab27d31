;; world: export run: func();
;; Fills 250 MiB of memory again and again, each time with one instruction.
(module
  (memory (export "memory") 4000)
  (func (export "run")
    (loop $again
      (memory.fill (i32.const 0) (i32.const 7) (i32.const 262144000))
      (br $again))))
