;; expect: 504 plugin-deadline deadline
;; Asks for more than it may have, again and again.
(module (memory (export "memory") 1)
  (func (export "run") (loop $l (drop (memory.grow (i32.const 65000))) (br $l))))
