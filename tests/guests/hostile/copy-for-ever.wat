;; expect: 504 plugin-deadline deadline
(module (memory (export "memory") 256)
  (func (export "run") (loop $l (memory.copy (i32.const 1) (i32.const 0) (i32.const 0xffffff)) (br $l))))
