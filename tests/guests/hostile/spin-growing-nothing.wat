;; expect: 504 plugin-deadline deadline
(module (memory (export "memory") 1)
  (func (export "run") (loop $l (drop (memory.grow (i32.const 0))) (br $l))))
