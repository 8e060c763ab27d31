;; world: export run: func();
;; Never even starts.
(module
  (func $forever (loop $again (br $again)))
  (start $forever)
  (func (export "run")))
