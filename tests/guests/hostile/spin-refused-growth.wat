;; expect: 504 plugin-deadline deadline
;; Repeatedly asks for more memory than allowed.
(module (memory (export "memory") 1)
  (func (export "run") (loop $l (drop (memory.grow (i32.const 65000))) (br $l))))
