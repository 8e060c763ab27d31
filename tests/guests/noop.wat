;; world: export nothing: func();
;; Does nothing, to measure the host itself.
(module
  (memory (export "memory") 1)
  (func (export "nothing")))
