;; world: export run: func();
;; Its initial memory is larger than any call may have.
(module
  (memory (export "memory") 16384)
  (func (export "run")))
