;; world: export run: func();
;; Its start function never ends.
(module
  (func $forever (loop $again (br $again)))
  (start $forever)
  (func (export "run")))
