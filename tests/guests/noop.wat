;; world: export nothing: func();
;; Does nothing: what is measured with it is the host.
(module
  (memory (export "memory") 1)
  (func (export "nothing")))
