;; world: export run: func();
;; Wants more memory to begin with than any call may have.
(module
  (memory (export "memory") 16384)
  (func (export "run")))
